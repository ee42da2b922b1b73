//! Operations of many kinds give on the pretend device what they give on the CPU, forwards and backwards.

use crate::both_devices::{assert_same_bits, numbers, seeded, whole_numbers};
use tch::{Kind, Reduction, Tensor};

#[test]
fn pointwise_operations_and_reductions() {
    let inputs = [numbers(1, &[5, 6]), numbers(2, &[5, 6]), numbers(3, &[6])];
    let same = |name, operation: fn(&[Tensor]) -> Vec<Tensor>| assert_same_bits(name, &inputs, operation);
    same("arithmetic", |t| vec![&t[0] + &t[1], &t[0] * &t[2] - 2.5, &t[0] / (&t[1].square() + 1.0), 1.0 - &t[0]]);
    same("functions", |t| {
        vec![t[0].gelu("none"), t[0].gelu("tanh"), t[0].silu(), t[0].sigmoid(), t[0].tanh(), t[0].erf()]
    });
    same("rectifiers", |t| {
        vec![t[0].relu(), t[0].leaky_relu(), t[0].elu(), t[0].softplus(), t[0].hardswish(), t[0].clamp(-0.5, 0.5)]
    });
    same("logarithms", |t| {
        vec![(t[0].abs() + 1.0).log(), t[0].exp(), t[0].logsumexp([1], false), (t[0].abs() + 1.0).rsqrt()]
    });
    same("numbers of the CPU", |t| vec![&t[0] + Tensor::from(2.0f32), &t[0] * Tensor::from(3.0f32)]);
    same("sums", |t| {
        vec![t[0].sum(Kind::Float), t[0].mean_dim(1, true, Kind::Float), t[0].sum_dim_intlist(0, false, Kind::Double)]
    });
    same("spread", |t| vec![t[0].var_dim(1, true, false), t[0].std(false), t[0].norm(), t[0].prod(Kind::Float)]);
    same("extremes", |t| {
        let (largest, places) = t[0].max_dim(1, false);
        vec![
            largest,
            places,
            t[0].min(),
            t[0].argmax(1, false),
            t[0].amax(1, false),
            t[0].maximum(&t[1]),
            t[0].median(),
        ]
    });
    same("order", |t| {
        let (sorted, places) = t[0].sort(1, true);
        let (top, top_places) = t[0].topk(3, 1, true, true);
        let (third, third_place) = t[0].kthvalue(3, 1, false);
        vec![
            sorted,
            places,
            top,
            top_places,
            third,
            third_place,
            t[0].argsort(0, false),
            t[0].quantile_scalar(0.3, 1, false, "linear"),
        ]
    });
    same("running", |t| {
        vec![t[0].cumsum(1, Kind::Float), t[0].cumprod(1, Kind::Float), t[0].diff::<Tensor>(1, 1, None, None)]
    });
    same("choices", |t| {
        let positive = t[0].gt(0.0);
        vec![
            t[0].where_self(&positive, &t[1]),
            t[0].masked_fill(&positive, 2.0),
            t[0].masked_select(&positive),
            positive.nonzero(),
        ]
    });
    same("comparisons", |t| {
        vec![t[0].eq_tensor(&t[1]), t[0].isfinite(), t[0].isnan().any(), t[0].ge(0.0).logical_not().all()]
    });
    same("kinds", |t| {
        vec![
            t[0].to_kind(Kind::Double),
            t[0].to_kind(Kind::Int64),
            t[0].to_kind(Kind::BFloat16),
            t[0].round().to_kind(Kind::Uint8),
        ]
    });
}

#[test]
fn shapes_views_and_places() {
    let inputs = [numbers(1, &[4, 6]), numbers(2, &[4, 6]), whole_numbers(4, &[5])];
    let same = |name, operation: fn(&[Tensor]) -> Vec<Tensor>| assert_same_bits(name, &inputs, operation);
    same("views", |t| {
        vec![
            t[0].view([6, 4]) * 2.0,
            t[0].transpose(0, 1).contiguous(),
            t[0].select(0, 1) + 1.0,
            t[0].slice(1, 1, 5, 2),
        ]
    });
    same("more views", |t| {
        vec![
            t[0].unsqueeze(1).expand([4, 3, 6], false),
            t[0].unfold(1, 3, 2),
            t[0].as_strided([3, 2], [6, 2], 1),
            t[0].diagonal(0, 0, 1),
        ]
    });
    same("pieces", |t| {
        t[0].split(2, 0).into_iter().chain(t[0].chunk(3, 1)).chain(t[0].unbind(0)).map(|piece| piece * 1.5).collect()
    });
    same("joined", |t| {
        vec![
            Tensor::cat(&[&t[0], &t[1]], 1),
            Tensor::stack(&[&t[0], &t[1]], 0),
            t[0].repeat([2, 1]),
            t[0].flip([1]),
            t[0].roll(2, 1),
        ]
    });
    same("padded", |t| {
        vec![t[0].constant_pad_nd([1, 2]), t[0].unsqueeze(0).reflection_pad1d([1, 1]), t[0].tril(0), t[0].triu(1)]
    });
    same("picked", |t| {
        let columns = t[2].unsqueeze(1).remainder(6).slice(0, 0, 4, 1);
        vec![t[0].index_select(0, &t[2]), t[0].gather(1, &columns, false), t[0].index(&[Some(&t[2])]), t[0].take(&t[2])]
    });
    same("placed", |t| {
        let rows = t[2].slice(0, 0, 4, 1);
        let columns = rows.unsqueeze(1).expand([4, 6], false);
        vec![
            t[0].index_add(0, &rows, &t[1]),
            t[0].scatter_add(1, &columns, &t[1]),
            t[0].index_fill(0, &rows, 0.5),
            t[0].index_put(&[Some(rows.copy())], &t[1], true),
        ]
    });
    same("places on the CPU", |t| vec![t[0].index(&[Some(Tensor::from_slice(&[1i64, 3, 0]))])]);
    same("changed in place", |t| {
        let changed = t[0].detach().copy();
        let _ = changed.select(0, 1).fill_(3.0);
        changed.slice(1, 0, 2, 1).copy_(&t[1].slice(1, 2, 4, 1));
        let _ = changed.shallow_clone().g_add_(&t[1].detach()).clamp_(-1.0, 1.0);
        let mut grown = t[1].detach().copy();
        let _ = grown.resize_([8, 6]).narrow(0, 4, 4).zero_();
        vec![changed, grown]
    });
    same("counted", |t| {
        let (unique, inverse, counts) = t[2].internal_unique2(true, true, true);
        vec![
            unique,
            inverse,
            counts,
            t[2].bincount::<Tensor>(None, 0),
            t[2].one_hot(4),
            Tensor::searchsorted::<Tensor>(&t[2].sort(0, false).0, &t[2], false, false, "left", None),
        ]
    });
    same("made beside", |t| {
        let options = (Kind::Float, t[0].device());
        vec![
            Tensor::zeros([2, 3], options),
            Tensor::ones_like(&t[0]),
            Tensor::arange(5, options),
            Tensor::eye(3, options),
            Tensor::linspace(0.0, 1.0, 5, options),
            Tensor::full([2], 1.5, options),
            Tensor::from_slice(&[1.0f32, 2.0]).to_device(t[0].device()),
        ]
    });
}

#[test]
fn networks_layers() {
    let pictures = [numbers(1, &[3, 4, 9, 9]), numbers(2, &[6, 4, 3, 3]), numbers(3, &[6]), numbers(4, &[4, 2, 3, 3])];
    let same = |name, operation: fn(&[Tensor]) -> Vec<Tensor>| assert_same_bits(name, &pictures, operation);
    same("convolutions", |t| {
        vec![
            t[0].conv2d(&t[1], Some(&t[2]), [1, 1], [1, 1], [1, 1], 1),
            t[0].conv2d(&t[1], None::<&Tensor>, [2, 2], [0, 0], [2, 2], 1),
            t[0].conv2d(&t[1].slice(1, 0, 1, 1).slice(0, 0, 4, 1), None::<&Tensor>, [1, 1], [1, 1], [1, 1], 4),
            t[0].conv_transpose2d(&t[3], None::<&Tensor>, [2, 2], [1, 1], [1, 1], 1, [1, 1]),
        ]
    });
    same("pools", |t| {
        vec![
            t[0].max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
            t[0].avg_pool2d([3, 3], [2, 2], [1, 1], false, true, None),
            t[0].adaptive_avg_pool2d([2, 2]),
            t[0].adaptive_avg_pool2d([1, 1]),
            t[0].adaptive_max_pool2d([2, 3]).0,
        ]
    });
    same("norms", |t| {
        let (mean, variance) =
            (Tensor::zeros([4], (Kind::Float, t[0].device())), Tensor::ones([4], (Kind::Float, t[0].device())));
        let trained =
            t[0].batch_norm(None::<&Tensor>, None::<&Tensor>, Some(&mean), Some(&variance), true, 0.1, 1e-5, false);
        let kept =
            t[0].batch_norm(None::<&Tensor>, None::<&Tensor>, Some(&mean), Some(&variance), false, 0.1, 1e-5, false);
        let layer = t[0].layer_norm([9], None::<&Tensor>, None::<&Tensor>, 1e-5, false);
        let groups = t[0].group_norm(2, None::<&Tensor>, None::<&Tensor>, 1e-5, false);
        vec![trained, kept, layer, groups, mean, variance]
    });
    same("resampled", |t| {
        let grid = (Tensor::arange(3 * 5 * 5 * 2, (Kind::Float, t[0].device())) * 0.3).sin().reshape([3, 5, 5, 2]);
        vec![
            t[0].grid_sampler(&grid, 0, 0, false),
            t[0].upsample_bilinear2d([12, 7], false, None, None),
            t[0].upsample_nearest2d([18, 18], None, None),
            t[0].upsample_bicubic2d([5, 5], true, None, None),
            t[0].pixel_shuffle(2),
        ]
    });
    same("unrolled", |t| vec![t[0].im2col([3, 3], [1, 1], [0, 0], [1, 1])]);
    let volume =
        [numbers(1, &[2, 3, 4, 5, 5]), numbers(2, &[2, 3, 2, 2, 2]), numbers(3, &[2, 3, 11]), numbers(4, &[4, 3, 3])];
    assert_same_bits("other dimensions", &volume, |t| {
        vec![
            t[0].conv3d(&t[1], None::<&Tensor>, [1, 1, 1], [0, 0, 0], [1, 1, 1], 1),
            t[2].conv1d(&t[3], None::<&Tensor>, [1], [1], [1], 1),
        ]
    });
    let words = [numbers(1, &[10, 8]), whole_numbers(10, &[3, 5])];
    assert_same_bits("embedding", &words, |t| vec![Tensor::embedding(&t[0], &t[1], -1, false, false)]);
}

#[test]
fn products_attention_and_decompositions() {
    let inputs =
        [numbers(1, &[4, 5]), numbers(2, &[5, 3]), numbers(3, &[2, 4, 5]), numbers(4, &[2, 5, 3]), numbers(5, &[5])];
    let same = |name, operation: fn(&[Tensor]) -> Vec<Tensor>| assert_same_bits(name, &inputs, operation);
    same("products", |t| {
        vec![
            t[0].matmul(&t[1]),
            t[2].bmm(&t[3]),
            t[0].mv(&t[4]),
            t[4].dot(&t[4]),
            t[2].matmul(&t[1]),
            t[4].outer(&t[4]),
        ]
    });
    same("added products", |t| {
        vec![t[0].matmul(&t[1]).addmm(&t[0], &t[1]), t[2].bmm(&t[3]).baddbmm(&t[2], &t[3], 1.0, 0.5)]
    });
    same("linear", |t| {
        vec![t[0].linear(&t[1].tr(), None::<&Tensor>), t[2].linear(&t[1].tr(), Some(&t[1].select(0, 0)))]
    });
    same("sums of products", |t| {
        vec![
            Tensor::einsum("bij,jk->bik", &[&t[2], &t[1]], None::<i64>),
            Tensor::cdist(&t[0], &t[1].tr(), 2.0, None::<i64>),
        ]
    });
    same("decompositions", |t| {
        let (q, r) = Tensor::linalg_qr(&t[0].tr(), "reduced");
        let (_, singular, _) = t[0].svd(true, true);
        let symmetric = t[0].matmul(&t[0].tr()) + Tensor::eye(4, (Kind::Float, t[0].device())) * 3.0;
        let (values, _) = symmetric.linalg_eigh("L");
        let right = t[0].slice(1, 0, 2, 1);
        vec![
            q,
            r,
            singular,
            values,
            symmetric.linalg_cholesky(false),
            Tensor::linalg_solve(&symmetric, &right, true),
            symmetric.logdet(),
            symmetric.inverse(),
        ]
    });
    let heads = [numbers(1, &[2, 3, 7, 4]), numbers(2, &[2, 3, 7, 4]), numbers(3, &[2, 3, 7, 4])];
    assert_same_bits("attention", &heads, |t| {
        let weights = (t[0].matmul(&t[1].transpose(-2, -1)) / 2.0).softmax(-1, Kind::Float);
        vec![weights.matmul(&t[2])]
    });
}

#[test]
fn losses() {
    let inputs = [numbers(1, &[6, 4]), whole_numbers(4, &[6]), numbers(2, &[6, 4])];
    let same = |name, operation: fn(&[Tensor]) -> Vec<Tensor>| assert_same_bits(name, &inputs, operation);
    same("classes", |t| {
        let reduced = |reduction, smoothing| t[0].cross_entropy_loss::<Tensor>(&t[1], None, reduction, -100, smoothing);
        vec![
            reduced(Reduction::Mean, 0.0),
            reduced(Reduction::None, 0.1),
            t[0].log_softmax(1, Kind::Float).nll_loss(&t[1]),
        ]
    });
    same("numbers", |t| {
        vec![
            t[0].mse_loss(&t[2], Reduction::Mean),
            t[0].smooth_l1_loss(&t[2], Reduction::Sum, 1.0),
            t[0].huber_loss(&t[2], Reduction::Mean, 0.5),
            t[0].l1_loss(&t[2], Reduction::Mean),
        ]
    });
    same("probabilities", |t| {
        let targets = t[2].sigmoid().detach();
        vec![
            t[0].binary_cross_entropy_with_logits::<Tensor>(&targets, None, None, Reduction::Mean),
            t[0].sigmoid().binary_cross_entropy::<Tensor>(&targets, None, Reduction::Mean),
            t[0].log_softmax(1, Kind::Float).kl_div(&t[2].softmax(1, Kind::Float), Reduction::Sum, false),
        ]
    });
}

#[test]
fn random_numbers_of_a_seed() {
    let inputs = [numbers(1, &[4, 6])];
    assert_same_bits("random numbers", &inputs, |t| {
        seeded(7, || {
            let options = (Kind::Float, t[0].device());
            vec![
                Tensor::randn([5, 3], options),
                Tensor::rand([5, 3], options),
                Tensor::randint(10, [7], (Kind::Int64, t[0].device())),
                Tensor::randperm(9, (Kind::Int64, t[0].device())),
                t[0].detach().copy().normal_(0.0, 2.0),
                t[0].detach().copy().uniform_(-1.0, 1.0),
                t[0].detach().copy().bernoulli_float_(0.3),
                t[0].softmax(1, Kind::Float).multinomial(2, false),
                t[0].dropout(0.5, true),
                t[0].rand_like().exponential_(1.0),
            ]
        })
    });
}
