use std::{fmt, str::FromStr};

use rewind_job::PredictorArchitecture;

use crate::{
    KerasError,
    weights::{self, Dense},
};

/// Width of `c` in `A(h)`.
pub(crate) const NARROW: usize = 8;

/// Which of the two published networks it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// `paper`: looks back from the oldest snapshot (Jang, Kim, Youn, AAAI 2025).
    InvWnn,
    /// `wnn`, its predecessor: looks ahead of the newest snapshot (Jang et al., ICML 2023).
    Wnn,
}

/// A published network, with its layers in their places.
///
/// Two streams, one of the `K` values, one of their `K − 1` differences; concatenated, `Dense1`, `tanh`. Each stream is
///
/// ```text
/// InvWNN: Dense128 → LeakyReLU(0.3) → Dense128 (= h) → A(h) → Dense64 → LeakyReLU(0.3)
/// WNN:                                 Dense64 (= h) → A(h) → Dense32 → LeakyReLU(0.3)
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub(crate) published: Published,
    pub(crate) snapshots: usize,
    block: Block,
    /// As published; version 0.1 trained `paper` networks for the negated ones.
    pub(crate) negated_differences: bool,
    pub(crate) weights_stream: Stream,
    pub(crate) differences_stream: Stream,
    /// Its first inputs are those of the weights.
    pub(crate) out: Dense,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    pub(crate) dense1: Dense,
    /// InvWNN has one more before `A(h)`.
    pub(crate) before: Option<Dense>,
    pub(crate) a_c: Dense,
    pub(crate) a_shift: Dense,
    pub(crate) a_scale: Dense,
    pub(crate) a_gate: Dense,
    /// What leaves the stream: `dense3` of InvWNN, `dense2` of WNN.
    pub(crate) leaving: Dense,
}

/// How the layers of `A(h) = shift(c) + scale(c) ⊙ exp(gate(c) ⊙ h)` were told apart: all three map 8 to the width of `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// By their names, in a predictor at rest.
    Named,
    /// They are layers of the model's graph, which Keras sorts by their distance to the output: gate, scale, shift.
    ByDepth,
    /// They belong to a layer or model of the authors' own, in the order in which it made them: that of the formula
    /// unless told otherwise.
    AsMade(BlockOrder),
}

/// In which order the file has shift, scale and gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockOrder([Role; 3]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Shift,
    Scale,
    Gate,
}

impl Network {
    /// Tells by the shapes which network it is, and finds each layer's place by its shape and by the order of the file; names tell nothing.
    ///
    /// `order` overrules the order in which shift, scale and gate are expected.
    ///
    /// # Errors
    /// The file cannot be read, a layer has an unknown shape, or there are too few or too many of a shape.
    pub fn from_keras(bytes: Vec<u8>, order: Option<BlockOrder>) -> Result<Self, KerasError> {
        Self::from_layers(weights::read(bytes)?, order)
    }

    fn from_layers(layers: Vec<Dense>, order: Option<BlockOrder>) -> Result<Self, KerasError> {
        let published = Published::of(&layers);
        let (wide, leaving) = (published.wide(), published.leaving());
        let mut places = Places::default();
        for (position, layer) in layers.into_iter().enumerate() {
            places.put(published, position, layer)?;
        }
        let dense1 = two(&format!("[K or K - 1, {wide}]"), places.dense1)?;
        let before: Vec<_> = match published {
            Published::InvWnn => two(&format!("[{wide}, {wide}]"), places.before)?.map(Some).into(),
            Published::Wnn => vec![None, None],
        };
        let a_c = two(&format!("[{wide}, {NARROW}]"), places.a_c)?;
        let last = two(&format!("[{wide}, {leaving}]"), places.leaving)?;
        let expanding: [_; 6] = exactly(&format!("[{NARROW}, {wide}]"), places.expanding)?;
        let [(_, mut out)]: [_; 1] = exactly(&format!("[{}, 1]", 2 * leaving), places.out)?;

        // [(position, first layer); 2]: in a graph the streams go side by side, else one after the other.
        let side_by_side = dense1[1].0 < before[0].as_ref().unwrap_or(&a_c[0]).0;
        let [(_, first), (_, second)] = &dense1;
        let snapshots = first.inputs.max(second.inputs);
        if first.inputs.abs_diff(second.inputs) != 1 {
            return Err(KerasError::Snapshots {
                first: first.dataset.clone(),
                first_inputs: first.inputs,
                second: second.dataset.clone(),
                second_inputs: second.inputs,
            });
        }

        let layer = |index: usize| &expanding[index].1.layer;
        let is_own_block = (1..3).all(|index| layer(index) == layer(0))
            && (4..6).all(|index| layer(index) == layer(3))
            && (layer(0) != layer(3) || !side_by_side);
        let by_depth = side_by_side && !is_own_block;
        let block = match (order, by_depth) {
            (Some(order), _) => Block::AsMade(order),
            (None, true) => Block::ByDepth,
            (None, false) => Block::AsMade(BlockOrder::FORMULA),
        };
        let [a, b, c, d, e, f] = expanding.map(|(_, layer)| layer);
        let blocks = if by_depth { [[a, c, e], [b, d, f]] } else { [[a, b, c], [d, e, f]] };

        let weights_are_first = first.inputs > second.inputs;
        let mut streams = Vec::new();
        for ((((dense1, before), a_c), block_layers), leaving) in
            dense1.into_iter().zip(before).zip(a_c).zip(blocks).zip(last)
        {
            let [a_shift, a_scale, a_gate] = block.order().sort(block_layers);
            let (dense1, before, a_c, leaving) = (dense1.1, before.map(|(_, layer)| layer), a_c.1, leaving.1);
            streams.push(Stream { dense1, before, a_c, a_shift, a_scale, a_gate, leaving });
        }
        let (Some(second), Some(first)) = (streams.pop(), streams.pop()) else {
            unreachable!("two arrays of two were zipped")
        };
        let (weights_stream, differences_stream) = match weights_are_first {
            true => (first, second),
            false => {
                // What is concatenated first is first in the file.
                out.kernel.rotate_left(leaving);
                (second, first)
            }
        };
        let negated_differences = false;
        Ok(Self { published, snapshots, block, negated_differences, weights_stream, differences_stream, out })
    }

    pub fn published(&self) -> Published {
        self.published
    }

    /// With layers that were found by their names.
    pub(crate) fn named(
        published: Published,
        snapshots: usize,
        negated_differences: bool,
        streams: [Stream; 2],
        out: Dense,
    ) -> Self {
        let [weights_stream, differences_stream] = streams;
        let block = Block::Named;
        Self { published, snapshots, block, negated_differences, weights_stream, differences_stream, out }
    }

    /// `K`.
    pub fn snapshots(&self) -> usize {
        self.snapshots
    }

    pub fn block(&self) -> Block {
        self.block
    }

    /// Every layer with its name in a predictor at rest.
    pub(crate) fn layers(&self) -> Vec<(String, &Dense)> {
        let streams = [("weights_stream", &self.weights_stream), ("differences_stream", &self.differences_stream)];
        let named = streams.into_iter().flat_map(|(name, stream)| {
            stream.layers().into_iter().map(move |(layer, dense)| (format!("{name}.{layer}"), dense))
        });
        named.chain([("out".to_owned(), &self.out)]).collect()
    }

    /// For each layer its name in a predictor at rest, and the dataset that it was read from.
    pub fn places(&self) -> Vec<(String, &str)> {
        self.layers().into_iter().map(|(name, dense)| (name, dense.dataset.as_str())).collect()
    }
}

impl Published {
    /// By shapes that only WNN has; a file of neither is missed by what InvWNN needs.
    fn of(layers: &[Dense]) -> Self {
        let (wide, leaving) = (Self::Wnn.wide(), Self::Wnn.leaving());
        let own = [(wide, NARROW), (wide, leaving), (2 * leaving, 1)];
        match layers.iter().any(|layer| own.contains(&(layer.inputs, layer.outputs))) {
            true => Self::Wnn,
            false => Self::InvWnn,
        }
    }

    /// As specifications spell it.
    pub fn architecture(self) -> PredictorArchitecture {
        match self {
            Self::InvWnn => PredictorArchitecture::Paper,
            Self::Wnn => PredictorArchitecture::Wnn,
        }
    }

    /// `U` of the networks that were released.
    pub fn horizon(self) -> u32 {
        match self {
            Self::InvWnn => 3,
            Self::Wnn => 5,
        }
    }

    /// Width of `h`.
    pub(crate) fn wide(self) -> usize {
        match self {
            Self::InvWnn => 128,
            Self::Wnn => 64,
        }
    }

    /// Width of what leaves a stream.
    pub(crate) fn leaving(self) -> usize {
        self.wide() / 2
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::InvWnn => "InvWNN",
            Self::Wnn => "WNN",
        })
    }
}

impl Stream {
    fn layers(&self) -> Vec<(&'static str, &Dense)> {
        let inner =
            [("a_c", &self.a_c), ("a_shift", &self.a_shift), ("a_scale", &self.a_scale), ("a_gate", &self.a_gate)];
        let last = if self.before.is_some() { "dense3" } else { "dense2" };
        let before = self.before.as_ref().map(|layer| ("dense2", layer));
        [("dense1", &self.dense1)].into_iter().chain(before).chain(inner).chain([(last, &self.leaving)]).collect()
    }
}

/// Layers by what their shapes say, each with its position in the file.
#[derive(Default)]
struct Places {
    dense1: Vec<(usize, Dense)>,
    before: Vec<(usize, Dense)>,
    a_c: Vec<(usize, Dense)>,
    expanding: Vec<(usize, Dense)>,
    leaving: Vec<(usize, Dense)>,
    out: Vec<(usize, Dense)>,
}

impl Places {
    fn put(&mut self, published: Published, position: usize, layer: Dense) -> Result<(), KerasError> {
        let (wide, leaving) = (published.wide(), published.leaving());
        let shape @ (inputs, outputs) = (layer.inputs, layer.outputs);
        // With K = 8 or K = 9 a first layer looks like one of A(h), which comes after its Dense8.
        let place = if shape == (NARROW, wide) && self.expanding.len() < 3 * self.a_c.len() {
            &mut self.expanding
        } else if shape == (wide, wide) && published == Published::InvWnn {
            &mut self.before
        } else if shape == (wide, NARROW) {
            &mut self.a_c
        } else if shape == (wide, leaving) {
            &mut self.leaving
        } else if shape == (2 * leaving, 1) {
            &mut self.out
        } else if inputs > 0 && outputs == wide {
            &mut self.dense1
        } else {
            return Err(KerasError::UnknownShape { dataset: layer.dataset, inputs, outputs });
        };
        place.push((position, layer));
        Ok(())
    }
}

fn two(shape: &str, found: Vec<(usize, Dense)>) -> Result<[(usize, Dense); 2], KerasError> {
    exactly(shape, found)
}

fn exactly<const N: usize>(shape: &str, found: Vec<(usize, Dense)>) -> Result<[(usize, Dense); N], KerasError> {
    found.try_into().map_err(|found: Vec<(usize, Dense)>| KerasError::LayerCount {
        shape: shape.to_owned(),
        expected: N,
        found: found.into_iter().map(|(_, layer)| layer.dataset).collect(),
    })
}

impl Block {
    fn order(self) -> BlockOrder {
        match self {
            Self::ByDepth => BlockOrder([Role::Gate, Role::Scale, Role::Shift]),
            Self::Named => BlockOrder::FORMULA,
            Self::AsMade(order) => order,
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.order().fmt(f)
    }
}

impl BlockOrder {
    /// `A(h) = shift + scale ⊙ exp(gate ⊙ h)`, read from left to right.
    const FORMULA: Self = Self([Role::Shift, Role::Scale, Role::Gate]);

    /// Three layers in the file's order → shift, scale, gate.
    fn sort(self, layers: [Dense; 3]) -> [Dense; 3] {
        let mut sorted: Vec<_> = self.0.into_iter().zip(layers).collect();
        sorted.sort_by_key(|(role, _)| *role as usize);
        let mut sorted = sorted.into_iter().map(|(_, layer)| layer);
        [(); 3].map(|()| sorted.next().expect("three layers were sorted"))
    }
}

impl FromStr for BlockOrder {
    type Err = KerasError;

    fn from_str(text: &str) -> Result<Self, KerasError> {
        let role = |name: &str| match name.trim() {
            "shift" => Some(Role::Shift),
            "scale" => Some(Role::Scale),
            "gate" => Some(Role::Gate),
            _ => None,
        };
        let wrong = || KerasError::BlockOrder { text: text.to_owned() };
        let roles: Vec<Role> = text.split(',').map(role).collect::<Option<_>>().ok_or_else(wrong)?;
        let roles: [Role; 3] = roles.try_into().map_err(|_| wrong())?;
        let distinct = roles[0] != roles[1] && roles[1] != roles[2] && roles[0] != roles[2];
        if distinct { Ok(Self(roles)) } else { Err(wrong()) }
    }
}

impl fmt::Display for BlockOrder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names = self.0.map(|role| match role {
            Role::Shift => "shift",
            Role::Scale => "scale",
            Role::Gate => "gate",
        });
        f.write_str(&names.join(", "))
    }
}
