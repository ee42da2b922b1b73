//! Pyramid Vision Transformer v2, size b0 (Wang et al., 2022), without stochastic depth. Names are timm's.

use tch::Tensor;

use crate::{
    layers::{Conv2d, LayerNorm, Linear, Mode, fill_up, global_average},
    network::Body,
    parameters::{Builder, Parameters},
};

/// The stages' numbers (table 1 of the paper).
const STAGES: [Measures; 4] = [
    Measures { width: 32, heads: 1, reduction: 8, expansion: 8 },
    Measures { width: 64, heads: 2, reduction: 4, expansion: 8 },
    Measures { width: 160, heads: 5, reduction: 2, expansion: 4 },
    Measures { width: 256, heads: 8, reduction: 1, expansion: 4 },
];
/// Blocks of each stage.
const BLOCKS: usize = 2;
/// The four stages divide the size by 4, 2, 2 and 2.
const DIVISOR: i64 = 32;
/// Of the blocks' and the stages' norms; the others have PyTorch's 1e-5.
const EPSILON: f64 = 1e-6;

#[derive(Clone, Copy)]
struct Measures {
    /// Numbers a place is described by.
    width: i64,
    heads: i64,
    /// Keys and values are taken from so many times fewer rows and columns.
    reduction: i64,
    /// Hidden numbers of a block's perceptron, in widths.
    expansion: i64,
}

/// 3.41 million parameters for ten classes of colour images. Images are filled up with zeros, at the right and at the bottom,
/// to multiples of 32 pixels. At 32 pixels each stage has one key and one value: attention is constant there.
pub struct PvtV2B0 {
    stages: Vec<Stage>,
    head: Linear,
}

/// Overlapping patches, blocks, a norm.
struct Stage {
    proj: Conv2d,
    embed_norm: LayerNorm,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

/// `x + attention(norm(x))`, then `x + perceptron(norm(x))`.
struct Block {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    perceptron: Perceptron,
}

/// Attention of every place to the places of a smaller picture (spatial reduction; Wang et al., 2021).
struct Attention {
    q: Linear,
    kv: Linear,
    proj: Linear,
    reduce: Option<(Conv2d, LayerNorm)>,
    heads: i64,
}

/// With a depthwise convolution between its layers, which stands for a position embedding (section 3.2).
struct Perceptron {
    fc1: Linear,
    depthwise: Conv2d,
    fc2: Linear,
}

/// Drawn as the authors do: linear layers from N(0, 0.02²), biases 0.
fn linear(build: &mut Builder, name: &str, inputs: i64, outputs: i64) -> Linear {
    Linear::new(build, name, inputs, outputs).drawn_normally(build, 0.02)
}

/// Convolutions from N(0, 2 / fan-out), biases 0; the fan-out is `outputs / groups · kernel²`.
fn convolution(build: &mut Builder, conv: Conv2d, fan_out: i64) -> Conv2d {
    conv.drawn_normally(build, (2.0 / fan_out as f64).sqrt())
}

impl PvtV2B0 {
    pub fn new(build: &mut Builder, channels: i64, classes: i64) -> Self {
        let mut inputs = channels;
        let mut stages = Vec::new();
        for (index, &measures) in STAGES.iter().enumerate() {
            stages.push(Stage::new(build, index, inputs, measures));
            inputs = measures.width;
        }
        Self { stages, head: linear(build, "head", inputs, classes) }
    }
}

impl Stage {
    fn new(build: &mut Builder, index: usize, inputs: i64, measures: Measures) -> Self {
        let width = measures.width;
        let name = format!("stages.{index}");
        let (embed, kernel, stride) =
            if index == 0 { ("patch_embed".to_owned(), 7, 4) } else { (format!("{name}.downsample"), 3, 2) };
        let proj = format!("{embed}.proj");
        let conv =
            Conv2d::new(build, &proj, (inputs, width), kernel, stride).and_bias(build, &proj, (inputs, width), kernel);
        Self {
            proj: convolution(build, conv, width * kernel * kernel),
            embed_norm: LayerNorm::new(build, &format!("{embed}.norm"), width),
            blocks: (0..BLOCKS).map(|block| Block::new(build, &format!("{name}.blocks.{block}"), measures)).collect(),
            norm: LayerNorm::new(build, &format!("{name}.norm"), width).with_epsilon(EPSILON),
        }
    }

    /// `[N, C, H, W]` → `[N, width, H', W']`.
    fn forward(&self, p: &Parameters, x: &Tensor) -> Tensor {
        let x = self.proj.forward(p, x);
        let [n, width, rows, columns] = x.size()[..] else { unreachable!("a convolution gives four dimensions") };
        let mut x = self.embed_norm.forward(p, &x.flatten(2, -1).transpose(1, 2));
        for block in &self.blocks {
            x = block.forward(p, &x, [rows, columns]);
        }
        self.norm.forward(p, &x).transpose(1, 2).reshape([n, width, rows, columns])
    }
}

impl Block {
    fn new(build: &mut Builder, name: &str, measures: Measures) -> Self {
        let at = |part: &str| format!("{name}.{part}");
        let Measures { width, heads, reduction, expansion } = measures;
        let norm1 = LayerNorm::new(build, &at("norm1"), width).with_epsilon(EPSILON);
        let attention = Attention {
            q: linear(build, &at("attn.q"), width, width),
            kv: linear(build, &at("attn.kv"), width, 2 * width),
            proj: linear(build, &at("attn.proj"), width, width),
            reduce: (reduction > 1).then(|| {
                let conv = Conv2d::patches(build, &at("attn.sr"), (width, width), reduction);
                let conv = convolution(build, conv, width * reduction * reduction);
                (conv, LayerNorm::new(build, &at("attn.norm"), width))
            }),
            heads,
        };
        let norm2 = LayerNorm::new(build, &at("norm2"), width).with_epsilon(EPSILON);
        let hidden = expansion * width;
        let fc1 = linear(build, &at("mlp.fc1"), width, hidden);
        let dwconv = at("mlp.dwconv");
        let depthwise = Conv2d::grouped(build, &dwconv, (hidden, hidden), 3, 1, hidden).and_bias(
            build,
            &dwconv,
            (hidden, hidden),
            3,
        );
        let depthwise = convolution(build, depthwise, 9);
        let perceptron = Perceptron { fc1, depthwise, fc2: linear(build, &at("mlp.fc2"), hidden, width) };
        Self { norm1, attention, norm2, perceptron }
    }

    /// `x` is `[N, T, width]`, `size` the rows and columns of its `T` places.
    fn forward(&self, p: &Parameters, x: &Tensor, size: [i64; 2]) -> Tensor {
        let x = x + self.attention.forward(p, &self.norm1.forward(p, x), size);
        &x + self.perceptron.forward(p, &self.norm2.forward(p, &x), size)
    }
}

/// `[N, T, width]` → `[N, width, rows, columns]`.
fn picture(x: &Tensor, [rows, columns]: [i64; 2]) -> Tensor {
    let (n, width) = (x.size()[0], x.size()[2]);
    x.transpose(1, 2).reshape([n, width, rows, columns])
}

impl Attention {
    fn forward(&self, p: &Parameters, x: &Tensor, size: [i64; 2]) -> Tensor {
        let [n, t, width] = x.size()[..] else { unreachable!("places come as [N, T, width]") };
        let each = width / self.heads;
        // [N, heads, T, width / heads]
        let q = self.q.forward(p, x).view([n, t, self.heads, each]).transpose(1, 2);
        let kv = match &self.reduce {
            Some((conv, norm)) => {
                let reduced = conv.forward(p, &picture(x, size)).flatten(2, -1).transpose(1, 2);
                self.kv.forward(p, &norm.forward(p, &reduced))
            }
            None => self.kv.forward(p, x),
        };
        // [2, N, heads, T', width / heads]
        let kv = kv.reshape([n, -1, 2, self.heads, each]).permute([2, 0, 3, 1, 4]);
        let scores = q.matmul(&kv.get(0).transpose(-2, -1)) / (each as f64).sqrt();
        let attended = scores.softmax(-1, scores.kind()).matmul(&kv.get(1));
        self.proj.forward(p, &attended.transpose(1, 2).reshape([n, t, width]))
    }
}

impl Perceptron {
    fn forward(&self, p: &Parameters, x: &Tensor, size: [i64; 2]) -> Tensor {
        let hidden = self.depthwise.forward(p, &picture(&self.fc1.forward(p, x), size));
        self.fc2.forward(p, &hidden.flatten(2, -1).transpose(1, 2).gelu("none"))
    }
}

impl Body for PvtV2B0 {
    fn features(&self, p: &Parameters, images: &Tensor, _: Mode) -> Tensor {
        let mut x = fill_up(images, DIVISOR);
        for stage in &self.stages {
            x = stage.forward(p, &x);
        }
        global_average(&x)
    }

    fn answer(&self, p: &Parameters, features: &Tensor) -> Tensor {
        self.head.forward(p, features)
    }
}
