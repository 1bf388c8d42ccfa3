// Bytes and descriptors over real sockets.
import Glibc
import Testing

@testable import Broker
@testable import Streams

@Suite("Plain sockets")
struct PlainTransportTests {
  /// Both ends of a UNIX connection.
  private func pair() throws -> (PlainTransport, PlainTransport) {
    let ends = try socketPair()
    return (
      PlainTransport(Descriptor(ends.0), carriesDescriptors: true),
      PlainTransport(Descriptor(ends.1), carriesDescriptors: true)
    )
  }

  private func send(_ bytes: [UInt8], on transport: PlainTransport) -> Outcome {
    var bytes = bytes
    return bytes.withUnsafeMutableBytes { bytes in
      withUnsafeTemporaryAllocation(of: Run.self, capacity: 1) { runs in
        runs[0] = Run(base: bytes.baseAddress, count: bytes.count)
        return transport.send(UnsafeBufferPointer(runs))
      }
    }
  }

  /// The result of one receive into buffers of the given sizes.
  private func receive(
    _ sizes: [Int], from transport: PlainTransport
  ) -> (outcome: Outcome, bytes: [UInt8], descriptor: Int32) {
    var room = [UInt8](repeating: 0xEE, count: sizes.reduce(0, +))
    var descriptor: Int32 = -1
    let outcome = room.withUnsafeMutableBytes { room in
      withUnsafeTemporaryAllocation(of: Run.self, capacity: sizes.count) { runs in
        var offset = 0
        for (index, size) in sizes.enumerated() {
          runs[index] = Run(base: room.baseAddress.map { $0 + offset }, count: size)
          offset += size
        }
        return transport.receive(into: UnsafeBufferPointer(runs), descriptor: &descriptor)
      }
    }
    guard case .moved(let count) = outcome else { return (outcome, [], descriptor) }
    return (outcome, Array(room[..<count]), descriptor)
  }

  @Test("a receive fills the buffers in order; an empty socket blocks, a closed one ends")
  func bytes() throws {
    var (near, far): (PlainTransport?, PlainTransport) = try pair()
    #expect(receive([8], from: far).outcome == .blocked(.read))
    #expect(near.map { send([1, 2, 3, 4, 5], on: $0) } == .moved(5))
    #expect(receive([2, 8], from: far).bytes == [1, 2, 3, 4, 5])
    near = nil
    #expect(receive([8], from: far).outcome == .end)
    #expect(send([1], on: far) == .failed(EPIPE), "and no signal ends the process")
  }

  @Test("a full socket accepts a part, then blocks")
  func full() throws {
    let (near, far) = try pair()
    let block = [UInt8](repeating: 7, count: 1 << 20)
    var total = 0
    while case .moved(let count) = send(block, on: near) { total += count }
    #expect(total > 0)
    #expect(send(block, on: near) == .blocked(.write))
    withExtendedLifetime(far) {}
  }

  @Test("a descriptor arrives with the last byte of a receive and is usable")
  func descriptor() throws {
    let (near, far) = try pair()
    var pipe: [Int32] = [-1, -1]
    #expect(Glibc.pipe(&pipe) == 0)
    #expect(send([1, 2, 3], on: near) == .moved(3))
    #expect(near.send(descriptor: pipe[1]) == .moved(1))
    #expect(send([4, 5], on: near) == .moved(2))
    close(pipe[1])
    let first = receive([64], from: far)
    #expect(first.bytes == [1, 2, 3, 0] && first.descriptor >= 0)
    #expect(receive([64], from: far).bytes == [4, 5])
    var byte: UInt8 = 42
    #expect(write(first.descriptor, &byte, 1) == 1)
    far.discard(descriptor: first.descriptor)
    var arrived: [UInt8] = [0, 0]
    #expect(read(pipe[0], &arrived, 2) == 1 && arrived[0] == 42)
    #expect(read(pipe[0], &arrived, 2) == 0, "the discarded descriptor was the last one")
    close(pipe[0])
  }
}
