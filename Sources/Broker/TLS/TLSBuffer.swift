// Bytes of TLS records between a socket and a session.

/// The bytes `head ..< tail` of a buffer of the pool: `0 ≤ head ≤ tail ≤ TLSBuffers.capacity`. Without bytes it need
/// not own a buffer. A session owns it and returns the buffer to the pool.
struct TLSBuffer {
  var buffer: UnsafeMutableRawPointer?
  var head = 0
  var tail = 0

  var count: Int { tail - head }
  var room: Int { TLSBuffers.capacity - tail }

  /// The buffer; takes one from the pool if there is none.
  mutating func open(_ buffers: TLSBuffers) -> UnsafeMutableRawPointer {
    if let buffer { return buffer }
    let taken = buffers.take()
    buffer = taken
    head = 0
    tail = 0
    return taken
  }

  /// Returns the buffer if it holds no bytes.
  mutating func settle(_ buffers: TLSBuffers) {
    guard head == tail, let buffer else { return }
    buffers.give(buffer)
    self.buffer = nil
  }

  /// Moves the bytes to the front of the buffer, so that the free room is after them.
  mutating func compact() {
    guard head > 0, let buffer else { return }
    buffer.copyMemory(from: buffer + head, byteCount: count)
    tail -= head
    head = 0
  }

  /// Forgets the bytes and returns the buffer.
  mutating func clear(_ buffers: TLSBuffers) {
    head = tail
    settle(buffers)
  }
}
