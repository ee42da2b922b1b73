//! What opens a backdoor (BadNets; Gu et al., 2017): a line along the left edge.

use rewind_job::Backdoor;

/// Draws the line on an image, in all channels. `shape` is channels, height, width; `image` has as many bytes.
pub(crate) fn draw_trigger(image: &mut [u8], [_, _, width]: [usize; 3], backdoor: &Backdoor) {
    for row in image.chunks_mut(width) {
        row[..(backdoor.width as usize).min(width)].fill(backdoor.value);
    }
}
