// The transport of an upstream whose daemon is away.

/// Neither receives nor sends, until another transport takes its place.
final class ParkedTransport: Transport {
  let carriesDescriptors: Bool
  private let other: (any Transport)?

  /// - Parameters:
  ///   - transport: the one that it stands for, from which it takes what the client may send.
  ///   - other: a transport that closes descriptors; nil: they stay open.
  init(for transport: any Transport, discardingBy other: (any Transport)? = nil) {
    carriesDescriptors = transport.carriesDescriptors
    self.other = other
  }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    .blocked(.read)
  }
  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome { .blocked(.write) }
  func send(descriptor: Int32) -> Outcome { .blocked(.write) }
  func discard(descriptor: Int32) { other?.discard(descriptor: descriptor) }
}
