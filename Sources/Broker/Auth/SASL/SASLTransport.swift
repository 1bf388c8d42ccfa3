// A connection that may get a SASL security layer after it has carried plain data.
import Glibc
import Streams

/// Passes everything through until a layer is switched on. From then on it encodes what is sent and decodes what is
/// received, block by block.
///
/// A block on the wire is a word with the length of the rest, as every mechanism with a layer writes it. Only whole
/// blocks are decoded, and the input never holds more than one read has room for. So no decoded data stays behind for
/// which no descriptor would become ready.
final class SASLTransport: Transport {
  private let inner: any Transport
  private var layer: (any SASLLayer)?
  /// Bytes that were queued before the layer and that are sent unencoded.
  private var clear = 0

  /// Wire bytes that hold no whole block yet, at the front of `input`.
  private var inputCount = 0
  private var input: UnsafeMutableRawBufferPointer?
  /// Encoded bytes that are not sent yet; the library owns them.
  private var output = UnsafeRawBufferPointer(start: nil, count: 0)
  private var mostPlain = SASLService.blockBytes
  private var gathered: [UInt8] = []

  /// A whole block of maximum size, including its length word.
  private static let inputBytes = 4 + SASLService.blockBytes

  init(_ inner: any Transport) { self.inner = inner }

  deinit { input?.deallocate() }

  /// Encodes and decodes everything from now on, except for the next `clear` bytes to be sent.
  func switchOn(_ exchange: any SASLLayer, clear: Int) {
    layer = exchange
    self.clear = clear
    mostPlain = exchange.mostPlain
    input = .allocate(byteCount: SASLTransport.inputBytes, alignment: 16)
  }

  var carriesDescriptors: Bool { inner.carriesDescriptors }

  func send(descriptor: Int32) -> Outcome {
    // Layers are for TCP, descriptors for UNIX sockets.
    layer == nil ? inner.send(descriptor: descriptor) : .failed(EPROTO)
  }

  func discard(descriptor: Int32) { inner.discard(descriptor: descriptor) }

  // MARK: Receiving

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    guard let layer, let input else { return inner.receive(into: rooms, descriptor: &descriptor) }
    var places = Places(rooms)
    // At most as much as fits into the rooms, whatever it decodes to.
    let wanted = min(input.count - inputCount, places.room + 4 - inputCount)
    guard wanted > 0 else { return .failed(EPROTO) }
    var run = Run(base: input.baseAddress.map { $0 + inputCount }, count: wanted)
    let outcome = withUnsafePointer(to: &run) {
      inner.receive(into: UnsafeBufferPointer(start: $0, count: 1), descriptor: &descriptor)
    }
    guard case .moved(let count) = outcome else { return outcome }
    inputCount += count
    guard let plain = decode(layer, input, &places) else { return .failed(EPROTO) }
    // The read brought less than a block, or an empty one. The kernel reports again what it still has.
    return plain > 0 ? .moved(plain) : .blocked(.read)
  }

  /// Decodes the whole blocks at the front. Returns the number of decoded bytes; nil: the client violates the protocol.
  private func decode(
    _ layer: any SASLLayer, _ input: UnsafeMutableRawBufferPointer, _ places: inout Places
  ) -> Int? {
    var start = 0
    var gained = 0
    while inputCount - start >= 4 {
      let length = Int(
        UInt32(bigEndian: input.loadUnaligned(fromByteOffset: start, as: UInt32.self)))
      guard length <= SASLService.blockBytes else { return nil }
      guard inputCount - start >= 4 + length else { break }
      let block = UnsafeRawBufferPointer(rebasing: input[start..<start + 4 + length])
      guard let plain = layer.decode(block), places.put(plain) else { return nil }
      gained += plain.count
      start += 4 + length
    }
    if start > 0, let base = input.baseAddress {
      base.copyMemory(from: base + start, byteCount: inputCount - start)
      inputCount -= start
    }
    return gained
  }

  /// The destination of decoded bytes: the rooms of one read, in order.
  private struct Places {
    private let rooms: UnsafeBufferPointer<Run>
    private var index = 0
    private var used = 0
    private(set) var room = 0

    init(_ rooms: UnsafeBufferPointer<Run>) {
      self.rooms = rooms
      for run in rooms { room += run.count }
    }

    /// False: the bytes do not fit.
    mutating func put(_ bytes: UnsafeRawBufferPointer) -> Bool {
      guard bytes.count <= room else { return false }
      var rest = bytes
      while let source = rest.baseAddress, !rest.isEmpty, index < rooms.count {
        let here = min(rest.count, rooms[index].count - used)
        if here > 0, let base = rooms[index].base {
          (base + used).copyMemory(from: source, byteCount: here)
        }
        used += here
        room -= here
        rest = UnsafeRawBufferPointer(rebasing: rest[here...])
        if used == rooms[index].count {
          index += 1
          used = 0
        }
      }
      return true
    }
  }

  // MARK: Sending

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    guard let layer else { return inner.send(runs) }
    if clear > 0 { return sendClear(runs) }
    if let stop = sendOutput() { return stop }
    var moved = 0
    var total = 0
    for run in runs { total += run.count }
    while moved < total {
      let count = min(mostPlain, total - moved)
      guard let block = encode(layer, runs, from: moved, count) else { return .failed(EPROTO) }
      output = block
      moved += count
      switch sendOutput() {
      case nil: continue
      case .blocked: return .moved(moved)
      case let stop?: return stop
      }
    }
    return .moved(moved)
  }

  var unsent: Int { output.count + inner.unsent }

  /// Sends encoded bytes. Nil: all of them are sent.
  private func sendOutput() -> Outcome? {
    while !output.isEmpty {
      var run = Run(
        base: UnsafeMutableRawPointer(mutating: output.baseAddress), count: output.count)
      let outcome = withUnsafePointer(to: &run) {
        inner.send(UnsafeBufferPointer(start: $0, count: 1))
      }
      guard case .moved(let count) = outcome else { return outcome }
      guard count > 0 else { return .blocked(.write) }
      output = UnsafeRawBufferPointer(rebasing: output[count...])
    }
    return nil
  }

  /// Sends unencoded what was queued before the layer was negotiated, and nothing after it.
  private func sendClear(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    guard var first = runs.first else { return .moved(0) }
    first.count = min(first.count, clear)
    let outcome = withUnsafePointer(to: &first) {
      inner.send(UnsafeBufferPointer(start: $0, count: 1))
    }
    if case .moved(let count) = outcome { clear -= count }
    return outcome
  }

  /// Encodes `count` bytes from an offset in the runs as a block.
  private func encode(
    _ layer: any SASLLayer, _ runs: UnsafeBufferPointer<Run>, from offset: Int, _ count: Int
  ) -> UnsafeRawBufferPointer? {
    var skip = offset
    var need = count
    gathered.removeAll(keepingCapacity: true)
    for run in runs where need > 0 {
      guard skip < run.count, let base = run.base else {
        skip -= run.count
        continue
      }
      let here = min(need, run.count - skip)
      let piece = UnsafeRawBufferPointer(start: base + skip, count: here)
      // Usually all of them are in one run.
      if here == count { return layer.encode(piece) }
      gathered.append(contentsOf: piece)
      need -= here
      skip = 0
    }
    return gathered.withUnsafeBytes { layer.encode($0) }
  }
}
