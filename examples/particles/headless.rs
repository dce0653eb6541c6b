//! Frames as PNG files.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use fewsteps::{Gpu, Pick};

use crate::Options;
use crate::picture::texture;
use crate::scene::Scene;

const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8UnormSrgb;

pub(crate) fn run(options: &Options, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let gpu = Gpu::open(&Pick::Any)?;
    let mut scene = Scene::new(&gpu, FORMAT, options.size, options.particles)?;
    let usage = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC;
    let target = texture(gpu.device(), "frame", options.size, FORMAT, usage);
    let view = target.create_view(&Default::default());
    scene.write_view(&gpu);
    for frame in 0..options.frames {
        let begun = Instant::now();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        scene.record(&mut encoder, &view)?;
        gpu.queue().submit([encoder.finish()]);
        let (nfe, arrived) = scene.cost(&gpu)?;
        println!("frame {frame}: NFE {nfe}, {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
        ensure!(arrived, "frame {frame}: a particle did not arrive");
        save(&gpu, &target, &folder.join(format!("{frame:04}.png")))?;
    }
    Ok(())
}

/// Reads the texture back and writes it to a file.
fn save(gpu: &Gpu, texture: &wgpu::Texture, path: &Path) -> anyhow::Result<()> {
    let (device, size) = (gpu.device(), texture.size());
    // Rows of a copy begin at multiples of 256 bytes.
    let row = (4 * size.width).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("frame"),
        size: u64::from(row) * u64::from(size.height),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_texture_to_buffer(
        texture.as_image_copy(),
        wgpu::TexelCopyBufferInfo {
            buffer: &staging,
            layout: wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None },
        },
        size,
    );
    gpu.queue().submit([encoder.finish()]);
    let (sender, mapped) = std::sync::mpsc::channel();
    staging.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    mapped.recv()??;
    let bytes = staging.get_mapped_range(..)?;
    let pixels: Vec<u8> =
        bytes.chunks_exact(row as usize).flat_map(|row| &row[..4 * size.width as usize]).copied().collect();
    let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), size.width, size.height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(())
}
