//! A small transformer over patches of the image (after ViT; Dosovitskiy et al., 2021).

use tch::Tensor;

use crate::{
    initial::Initial,
    layers::{Conv2d, LayerNorm, Linear, Mode},
    network::Body,
    parameters::{Builder, Parameter, Parameters},
};

/// Numbers a patch is described by.
const WIDTH: i64 = 64;
const HEADS: i64 = 4;
/// Hidden numbers of a block's perceptron.
const HIDDEN: i64 = 128;
const BLOCKS: usize = 2;
/// Patches along the longer side of an image, at most.
const PATCHES: i64 = 8;

/// Patches, position embedding, pre-norm blocks, mean over the patches. Names are those of timm's vision transformer
/// with `global_pool = "avg"`.
pub struct TransformerSmall {
    patches: Conv2d,
    /// Pixels at the right and at the bottom that are missing to whole patches.
    missing: [i64; 2],
    /// `[T, width]`: one row a patch.
    positions: Parameter,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

/// `x + attention(norm(x))`, then `x + perceptron(norm(x))` (pre-norm; Xiong et al., 2020).
struct Block {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

/// Multi-head attention of every patch to every patch (Vaswani et al., 2017, section 3.2).
struct Attention {
    /// Queries, keys and values in one matrix.
    qkv: Linear,
    proj: Linear,
}

impl TransformerSmall {
    /// `image` is channels, height, width.
    pub fn new(build: &mut Builder, [channels, height, width]: [i64; 3], classes: i64) -> Self {
        let divided_up = |length: i64, by: i64| (length + by - 1) / by;
        let side = divided_up(height.max(width), PATCHES).max(2);
        let [rows, columns] = [height, width].map(|length| divided_up(length, side));
        let positions = build.parameter("pos_embed", &[rows * columns, WIDTH], Initial::Embedding);
        let patches = Conv2d::patches(build, "patch_embed.proj", (channels, WIDTH), side);
        Self {
            patches,
            missing: [columns * side - width, rows * side - height],
            positions,
            blocks: (0..BLOCKS).map(|index| Block::new(build, &format!("blocks.{index}"))).collect(),
            norm: LayerNorm::new(build, "fc_norm", WIDTH),
            head: Linear::new(build, "head", WIDTH, classes),
        }
    }
}

impl Block {
    fn new(build: &mut Builder, name: &str) -> Self {
        let at = |part: &str| format!("{name}.{part}");
        Self {
            norm1: LayerNorm::new(build, &at("norm1"), WIDTH),
            attention: Attention {
                qkv: Linear::new(build, &at("attn.qkv"), WIDTH, 3 * WIDTH),
                proj: Linear::new(build, &at("attn.proj"), WIDTH, WIDTH),
            },
            norm2: LayerNorm::new(build, &at("norm2"), WIDTH),
            fc1: Linear::new(build, &at("mlp.fc1"), WIDTH, HIDDEN),
            fc2: Linear::new(build, &at("mlp.fc2"), HIDDEN, WIDTH),
        }
    }

    /// `x` is `[N, T, width]`.
    fn forward(&self, p: &Parameters, x: &Tensor) -> Tensor {
        let x = x + self.attention.forward(p, &self.norm1.forward(p, x));
        let hidden = self.fc1.forward(p, &self.norm2.forward(p, &x)).gelu("none");
        &x + self.fc2.forward(p, &hidden)
    }
}

impl Attention {
    fn forward(&self, p: &Parameters, x: &Tensor) -> Tensor {
        let (n, t) = (x.size()[0], x.size()[1]);
        // [3, N, heads, T, width / heads]
        let qkv = self.qkv.forward(p, x).view([n, t, 3, HEADS, WIDTH / HEADS]).permute([2, 0, 3, 1, 4]);
        let (q, k, v) = (qkv.get(0), qkv.get(1), qkv.get(2));
        let scores = q.matmul(&k.transpose(-2, -1)) / ((WIDTH / HEADS) as f64).sqrt();
        let attended = scores.softmax(-1, scores.kind()).matmul(&v);
        self.proj.forward(p, &attended.transpose(1, 2).reshape([n, t, WIDTH]))
    }
}

impl Body for TransformerSmall {
    fn features(&self, p: &Parameters, images: &Tensor, _: Mode) -> Tensor {
        let [right, bottom] = self.missing;
        let whole = images.constant_pad_nd([0, right, 0, bottom]);
        // [N, width, rows, columns] → [N, T, width]
        let mut x = self.patches.forward(p, &whole).flatten(2, -1).transpose(1, 2) + p.get(self.positions);
        for block in &self.blocks {
            x = block.forward(p, &x);
        }
        let mean = x.mean_dim([1].as_slice(), false, x.kind());
        self.norm.forward(p, &mean)
    }

    fn answer(&self, p: &Parameters, features: &Tensor) -> Tensor {
        self.head.forward(p, features)
    }
}
