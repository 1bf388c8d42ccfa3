// A socket in memory that behaves as badly as the kernel may.
@testable import Streams

/// One end of a connection. Reads return the peer's bytes cut at random places; sends accept random numbers of bytes.
/// A descriptor ends a read, as on a UNIX socket.
final class ScriptedTransport: Transport {
  var carriesDescriptors = true
  private var random: Seed
  /// Bytes that the peer has sent and the broker has not read.
  private(set) var supply: [UInt8] = []
  private var supplyHead = 0
  /// Positions in the whole supply of the bytes with a descriptor.
  private var carriers: [(position: Int, descriptor: Int32)] = []
  private var received = 0
  private var supplied = 0
  /// Bytes that the broker has sent and the peer has not read.
  var taken: [UInt8] = []
  private(set) var takenDescriptors: [Int32] = []
  private(set) var discarded: [Int32] = []
  /// The peer has closed its side: reads end after the supply, and sends fail.
  var isClosed = false
  /// The peer accepts nothing at present.
  var isStalled = false
  /// Behaves without random cuts and refusals.
  var isSmooth = false
  /// The bytes that the peer accepts without reading: the size of a socket's buffer.
  var capacity = 4096
  private(set) var sends = 0
  /// Accepts bytes into a buffer of its own and makes records of them, as TLS does.
  var makesRecords = false
  private var records = RecordBuffer()
  /// The room of a pipe to this socket, in bytes; 0: there is none.
  var pipeRoom = 0
  private var pipe: [UInt8] = []
  private var isPipeOpen = false
  /// How often the relay has used the pipe wrongly: without having opened it, or sent bytes past its content.
  private(set) var pipeMistakes = 0
  /// Payload that the relay has not seen.
  private(set) var piped = 0

  init(seed: UInt64) { random = Seed(seed) }

  func supply(_ bytes: [UInt8], descriptors: [Int32] = []) {
    supply += bytes
    supplied += bytes.count
    for descriptor in descriptors {
      carriers.append((supplied, descriptor))
      supply.append(0)
      supplied += 1
    }
  }

  /// The peer's last bytes are lost.
  func loseTail(_ count: Int) {
    let lost = min(count, available)
    supply.removeLast(lost)
    supplied -= lost
    carriers.removeAll { $0.position >= supplied }
  }

  var available: Int { supply.count - supplyHead }
  var isReadable: Bool { available > 0 || isClosed }
  var isWritable: Bool { isClosed || (!isStalled && taken.count < capacity) }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    if available == 0 { return isClosed ? .end : .blocked(.read) }
    let room = rooms.reduce(0) { $0 + $1.count }
    var count = min(room, available)
    if !isSmooth {
      count = min(count, random.once(in: 3) ? random.pick(1...8) : random.pick(1...600))
    }
    if let next = carriers.first, next.position < received + count {
      count = next.position - received + 1
      descriptor = next.descriptor
      carriers.removeFirst()
    }
    var left = count
    for room in rooms where left > 0 {
      let part = min(left, room.count)
      supply.withUnsafeBytes { bytes in
        if let target = room.base, let source = bytes.baseAddress {
          target.copyMemory(from: source + supplyHead, byteCount: part)
        }
      }
      supplyHead += part
      left -= part
    }
    received += count
    if supplyHead > 4096 {
      supply.removeFirst(supplyHead)
      supplyHead = 0
    }
    return .moved(count)
  }

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    sends += 1
    if isClosed { return .failed(32) }
    if !pipe.isEmpty {
      if !runs.isEmpty { pipeMistakes += 1 }
      return emptyPipe()
    }
    if makesRecords { return sendRecords(runs) }
    if !isWritable || (!isSmooth && random.once(in: 6)) { return .blocked(.write) }
    let offered = runs.reduce(0) { $0 + $1.count }
    var left = min(offered, capacity - taken.count)
    if !isSmooth, random.once(in: 2) { left = min(left, random.pick(1...200)) }
    let count = left
    for run in runs where left > 0 {
      let part = min(left, run.count)
      taken += UnsafeRawBufferPointer(start: run.base, count: part)
      left -= part
    }
    return .moved(count)
  }

  var unsent: Int { records.waiting.count + pipe.count }
  /// Records that contain the end of one packet and the beginning of the next.
  var mixedRecords: Int { records.mixed }

  private func sendRecords(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    leave()
    guard unsent == 0 else { return .blocked(.write) }
    let moved = records.take(runs, &random)
    leave()
    return .moved(moved)
  }

  /// Moves waiting records to the peer while it has space.
  private func leave() {
    guard isWritable, isSmooth || !random.once(in: 6) else { return }
    var count = min(records.waiting.count, capacity - taken.count)
    if !isSmooth, random.once(in: 2) { count = min(count, random.pick(1...200)) }
    taken += records.waiting.prefix(count)
    records.waiting.removeFirst(count)
  }

  func send(descriptor: Int32) -> Outcome {
    if isClosed { return .failed(32) }
    if !pipe.isEmpty { pipeMistakes += 1 }
    leave()
    if unsent > 0 { return .blocked(.write) }
    if !isWritable || (!isSmooth && random.once(in: 4)) { return .blocked(.write) }
    taken.append(0)
    takenDescriptors.append(descriptor)
    return .moved(1)
  }

  func discard(descriptor: Int32) { discarded.append(descriptor) }

  // MARK: The pipe

  func openPipe(from source: any Transport) -> Bool {
    guard pipeRoom > 0, let source = source as? ScriptedTransport, !source.carriesDescriptors,
      !source.makesRecords, !random.once(in: 6)
    else { return false }
    isPipeOpen = true
    return true
  }

  func fillPipe(with bytes: UnsafeRawBufferPointer) -> Bool {
    if !isPipeOpen { pipeMistakes += 1 }
    guard pipe.count + bytes.count <= pipeRoom, isSmooth || !random.once(in: 8) else {
      return false
    }
    pipe += bytes
    return true
  }

  func fillPipe(from source: any Transport, limit: Int) -> Outcome {
    if !isPipeOpen { pipeMistakes += 1 }
    guard let source = source as? ScriptedTransport, isSmooth || !random.once(in: 60) else {
      return .moved(0)
    }
    if source.available == 0, source.isClosed { return .end }
    var count = min(limit, source.available, pipeRoom - pipe.count)
    // A pipe can have no room for more pieces while it has room for more bytes.
    if !pipe.isEmpty, !isSmooth, random.once(in: 6) { count = 0 }
    guard count > 0 else { return .blocked(pipe.isEmpty ? .read : .write) }
    if !isSmooth, random.once(in: 2) { count = min(count, random.pick(1...100)) }
    pipe += source.takeSupply(count)
    piped += count
    return .moved(count)
  }

  func closePipe() { isPipeOpen = false }

  /// Takes bytes that the peer has sent. Such a peer sends no descriptors.
  private func takeSupply(_ count: Int) -> ArraySlice<UInt8> {
    let bytes = supply[supplyHead..<supplyHead + count]
    supplyHead += count
    received += count
    return bytes
  }

  private func emptyPipe() -> Outcome {
    if !isWritable || (!isSmooth && random.once(in: 6)) { return .blocked(.write) }
    var count = min(pipe.count, capacity - taken.count)
    if !isSmooth, random.once(in: 2) { count = min(count, random.pick(1...200)) }
    taken += pipe.prefix(count)
    pipe.removeFirst(count)
    return .moved(count)
  }
}

/// Takes whole packets from the front of received bytes.
struct PacketReader {
  private var bytes: [UInt8] = []
  private var head = 0

  mutating func feed(_ more: [UInt8]) {
    // Carriers that have not arrived yet are skipped on arrival.
    let passed = min(head, bytes.count)
    bytes.removeFirst(passed)
    head -= passed
    bytes += more
  }

  /// Bytes of an incomplete packet.
  var rest: Int { bytes.count - head }

  /// The next packet with its header. Carriers are not skipped: see `skipCarriers`.
  mutating func next() -> (header: PacketHeader, packet: [UInt8])? {
    guard rest >= Limits.header else { return nil }
    let header = bytes.withUnsafeBytes { PacketHeader(at: $0.baseAddress! + head) }
    let length = Int(header.length)
    guard length >= Limits.header, rest >= length else { return nil }
    defer { head += length }
    return (header, Array(bytes[head..<head + length]))
  }

  mutating func skipCarriers(_ count: Int) { head += count }
}
