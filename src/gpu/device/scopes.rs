//! [`Scopes`]: what a device refuses becomes an error of who asked.

/// Error scopes of every kind. Whoever drops them closes them too.
pub(super) struct Scopes {
    // Closed in this order, the reverse of their opening.
    validation: wgpu::ErrorScopeGuard,
    memory: wgpu::ErrorScopeGuard,
    internal: wgpu::ErrorScopeGuard,
}

impl Scopes {
    pub(super) fn open(device: &wgpu::Device) -> Self {
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        Self { validation, memory, internal }
    }

    /// Closes them at once; the future says the first error.
    pub(super) fn close(self) -> impl Future<Output = Option<wgpu::Error>> {
        let (validation, memory, internal) = (self.validation.pop(), self.memory.pop(), self.internal.pop());
        async { validation.await.or(memory.await).or(internal.await) }
    }
}
