use std::{fmt, str::FromStr};

use crate::{
    KerasError,
    weights::{self, Dense},
};

/// The published network, with its layers in their places.
///
/// Two streams, `Dense128 → LeakyReLU(0.3) → Dense128 (= h) → A(h) → Dense64 → LeakyReLU(0.3)`, one of the `K` weights,
/// one of the `K − 1` differences, both newest first; concatenated, `Dense1`, `tanh`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    snapshots: usize,
    block: Block,
    pub(crate) weights_stream: Stream,
    pub(crate) differences_stream: Stream,
    /// Its first 64 inputs are those of the weights.
    pub(crate) out: Dense,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    pub(crate) dense1: Dense,
    pub(crate) dense2: Dense,
    pub(crate) a_c: Dense,
    pub(crate) a_shift: Dense,
    pub(crate) a_scale: Dense,
    pub(crate) a_gate: Dense,
    pub(crate) dense3: Dense,
}

/// How the layers of `A(h) = shift(c) + scale(c) ⊙ exp(gate(c) ⊙ h)` were told apart: all three map 8 to 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
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
    /// Finds each layer's place by its shape and by the order of the file; names tell nothing.
    ///
    /// `order` overrules the order in which shift, scale and gate are expected.
    ///
    /// # Errors
    /// The file cannot be read, a layer has an unknown shape, or there are too few or too many of a shape.
    pub fn from_keras(bytes: Vec<u8>, order: Option<BlockOrder>) -> Result<Self, KerasError> {
        Self::from_layers(weights::read(bytes)?, order)
    }

    fn from_layers(layers: Vec<Dense>, order: Option<BlockOrder>) -> Result<Self, KerasError> {
        let mut places = Places::default();
        for (position, layer) in layers.into_iter().enumerate() {
            places.put(position, layer)?;
        }
        let dense1 = two("[K or K - 1, 128]", places.dense1)?;
        let dense2 = two("[128, 128]", places.dense2)?;
        let a_c = two("[128, 8]", places.a_c)?;
        let dense3 = two("[128, 64]", places.dense3)?;
        let expanding: [_; 6] = exactly("[8, 128]", places.expanding)?;
        let [(_, mut out)]: [_; 1] = exactly("[128, 1]", places.out)?;

        // [(position, first layer); 2]: in a graph the streams go side by side, else one after the other.
        let side_by_side = dense1[1].0 < dense2[0].0;
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
        for ((((dense1, dense2), a_c), block_layers), dense3) in
            dense1.into_iter().zip(dense2).zip(a_c).zip(blocks).zip(dense3)
        {
            let [a_shift, a_scale, a_gate] = block.order().sort(block_layers);
            let (dense1, dense2, a_c, dense3) = (dense1.1, dense2.1, a_c.1, dense3.1);
            streams.push(Stream { dense1, dense2, a_c, a_shift, a_scale, a_gate, dense3 });
        }
        let (Some(second), Some(first)) = (streams.pop(), streams.pop()) else {
            unreachable!("two arrays of two were zipped")
        };
        let (weights_stream, differences_stream) = match weights_are_first {
            true => (first, second),
            false => {
                // What is concatenated first is first in the file.
                out.kernel.rotate_left(64);
                (second, first)
            }
        };
        Ok(Self { snapshots, block, weights_stream, differences_stream, out })
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
        let named = streams
            .into_iter()
            .flat_map(|(name, stream)| stream.layers().map(|(layer, dense)| (format!("{name}.{layer}"), dense)));
        named.chain([("out".to_owned(), &self.out)]).collect()
    }

    /// For each layer its name in a predictor at rest, and the dataset that it was read from.
    pub fn places(&self) -> Vec<(String, &str)> {
        self.layers().into_iter().map(|(name, dense)| (name, dense.dataset.as_str())).collect()
    }
}

impl Stream {
    fn layers(&self) -> [(&'static str, &Dense); 7] {
        [
            ("dense1", &self.dense1),
            ("dense2", &self.dense2),
            ("a_c", &self.a_c),
            ("a_shift", &self.a_shift),
            ("a_scale", &self.a_scale),
            ("a_gate", &self.a_gate),
            ("dense3", &self.dense3),
        ]
    }
}

/// Layers by what their shapes say, each with its position in the file.
#[derive(Default)]
struct Places {
    dense1: Vec<(usize, Dense)>,
    dense2: Vec<(usize, Dense)>,
    a_c: Vec<(usize, Dense)>,
    expanding: Vec<(usize, Dense)>,
    dense3: Vec<(usize, Dense)>,
    out: Vec<(usize, Dense)>,
}

impl Places {
    fn put(&mut self, position: usize, layer: Dense) -> Result<(), KerasError> {
        let place = match (layer.inputs, layer.outputs) {
            // With K = 8 or K = 9 a first layer looks like one of A(h), which comes after its Dense8.
            (8, 128) if self.expanding.len() < 3 * self.a_c.len() => &mut self.expanding,
            (128, 128) => &mut self.dense2,
            (128, 8) => &mut self.a_c,
            (128, 64) => &mut self.dense3,
            (128, 1) => &mut self.out,
            (1.., 128) => &mut self.dense1,
            (inputs, outputs) => {
                return Err(KerasError::UnknownShape { dataset: layer.dataset, inputs, outputs });
            }
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
