//! A profile as a table.

use comfy_table::{CellAlignment, Table, presets};

use super::Profile;

/// What the parts of the native engine are, by the names that the library has for them.
const PARTS: [(&str, &str); 4] = [
    ("solve", "encoder and solve"),
    ("loss", "loss"),
    ("backward", "penalties, walk back, gradient"),
    ("update", "update"),
];

/// The table, and lines that say what it is of.
pub(super) fn render(found: &Profile) -> String {
    let Profile { task, method, engine, batch, steps, wall_ms, nfe, accepted, parts, device } = found;
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    let of_kernels = device.is_some();
    let head: &[&str] = if of_kernels { &["kernel", "dispatches", "ms", "share"] } else { &["part", "ms", "share"] };
    table.set_header(head.iter().copied());
    let sum: f64 = parts.iter().map(|part| part.ms).sum();
    for part in parts {
        let name = PARTS.iter().find(|(name, _)| *name == part.name).map_or(part.name.as_str(), |(_, told)| told);
        let dispatches = part.dispatches.map(|count| format!("{count:.1}"));
        let numbers = [format!("{:.4}", part.ms), format!("{:.1} %", 100.0 * part.ms / sum)];
        table.add_row([name.to_owned()].into_iter().chain(dispatches).chain(numbers));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!(
        "{task}, {method}, batch {batch}, on {engine}: {wall_ms:.3} ms a training step (mean of {steps}), NFE {nfe:.1} in \
         {accepted:.1} steps\n{table}\n"
    );
    if let Some(device) = device {
        text += &format!(
            "{sum:.3} ms of the step on the device, in {:.1} dispatches; the host waits {:.1} times a step and reads {:.0} bytes; \
             timestamps themselves cost about a microsecond a dispatch\n",
            device.dispatches, device.waits, device.bytes_read
        );
        if device.untimed > 0 {
            text += &format!("{} dispatches were not timed: there are too many in a step\n", device.untimed);
        }
    }
    text
}
