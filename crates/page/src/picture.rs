//! Pictures that stand in the page itself: PNG as data URIs, and a colour map of even steps.

use base64::{Engine, prelude::BASE64_STANDARD};

pub type Color = [u8; 3];

/// Viridis at even distances (van der Walt and Smith, 2015): its lightness grows evenly, whatever eyes or printer.
const VIRIDIS: [Color; 9] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2d, 0x7b],
    [0x3b, 0x52, 0x8b],
    [0x2c, 0x72, 0x8e],
    [0x21, 0x91, 0x8c],
    [0x28, 0xae, 0x80],
    [0x5e, 0xc9, 0x62],
    [0xad, 0xdc, 0x30],
    [0xfd, 0xe7, 0x25],
];
/// What is not a number.
const UNKNOWN: Color = [0x88, 0x88, 0x88];

/// The colour of a share between 0 and 1.
pub fn viridis(share: f64) -> Color {
    if !share.is_finite() {
        return UNKNOWN;
    }
    let place = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let below = (place.floor() as usize).min(VIRIDIS.len() - 2);
    mix(VIRIDIS[below], VIRIDIS[below + 1], place - below as f64)
}

/// `share` of the second colour over the first.
pub fn mix(below: Color, above: Color, share: f64) -> Color {
    let blend = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    [blend(below[0], above[0]), blend(below[1], above[1]), blend(below[2], above[2])]
}

/// A PNG as data URI, from pixels row by row; none if they do not fill its size.
pub fn data_uri(width: u32, height: u32, pixels: &[Color]) -> Option<String> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(pixels.as_flattened()).ok()?;
    writer.finish().ok()?;
    Some(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colour_map_begins_ends_and_mixes_where_it_should() {
        assert_eq!((viridis(0.0), viridis(1.0), viridis(7.0)), (VIRIDIS[0], VIRIDIS[8], VIRIDIS[8]));
        // Half-way between the first two: (0x44 + 0x47) / 2 = 69.5, (0x01 + 0x2d) / 2 = 23, (0x54 + 0x7b) / 2 = 103.5.
        assert_eq!(viridis(1.0 / 16.0), [70, 23, 104]);
        assert_eq!(viridis(f64::NAN), UNKNOWN);
    }

    #[test]
    fn a_picture_reads_back_as_it_was_written() {
        let pixels = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [250, 251, 252], [0, 0, 0], [255, 255, 255]];
        let uri = data_uri(3, 2, &pixels).unwrap();
        let file = BASE64_STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut read = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut read).unwrap();
        assert_eq!((info.width, info.height), (3, 2));
        assert_eq!(read, pixels.as_flattened());
    }

    #[test]
    fn pixels_that_do_not_fill_a_picture_are_none() {
        assert_eq!(data_uri(3, 2, &[[0, 0, 0]]), None);
        assert_eq!(data_uri(0, 0, &[]), None);
    }
}
