// The model's weights as numbers to compute with, whatever they are stored as. The kernel that uses it declares `theta`.

fn weight(i: u32) -> f32 {
    return f32(theta[i]);
}
