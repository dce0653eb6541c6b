mod common;
use common::*;
use fewsteps::*;
#[test]
fn scratch() {
    let gpu = gpu().expect("gpu");
    let t = std::time::Instant::now();
    for known in zoo().into_iter().take(2) {
        for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-4).layout(layout);
        let (theta, y0) = (cast::<f32>(&known.theta), cast::<f32>(&known.rows(3)));
        let native = solver::<f32>(&known.problem, &options).solve(&theta, &y0).expect("x");
        eprintln!("{:?} {:?}", native.stats, native.ys);
        let mut device = GpuSolver::new(&gpu, &known.problem, &options).expect("a valid problem");
        let found = gpu.block_on(device.solve(&theta, &y0));
        eprintln!("{:?} {found:?}", t.elapsed());
        }
    }
}
