// The table of calls under way, compared with a dictionary.
import Testing

@testable import Simulator
@testable import Streams

@Suite("call table")
struct CallTableTests {
  private struct Key: Hashable {
    let program: UInt32
    let version: UInt32
    let serial: UInt32

    func header(_ kind: PacketKind = .call, _ status: PacketStatus = .ok) -> PacketHeader {
      PacketHeader(
        program: program, version: version, procedure: procedure, kind: kind, serial: serial,
        status: status)
    }
    var procedure: Int32 { Int32(truncatingIfNeeded: serial &* 7 &+ version &+ program) }
  }

  /// The table in a class, so that an expectation can change it.
  private final class Table {
    private var table = CallTable()
    var count: Int { table.count }
    var awaitedCount: Int { table.awaitedCount }
    var calls: [Call] { table.calls }
    subscript(index: Int) -> Call { table[index] }
    /// For keys that are used once: the call that waits for its reply or has a stream.
    func find(_ header: PacketHeader) -> Int? {
      (0..<4).lazy.compactMap { self.table.findAwaited(header, upstream: $0) }.first
        ?? table.findStream(header)
    }
    func findAwaited(_ header: PacketHeader, upstream: Int) -> Int? {
      table.findAwaited(header, upstream: upstream)
    }
    func findStream(_ header: PacketHeader) -> Int? { table.findStream(header) }
    func find(_ call: Call) -> Int? { table.find(call) }
    func insert(_ call: Call, for header: PacketHeader) -> Bool {
      guard find(header) == nil else { return false }
      table.insert(call)
      return true
    }
    func insert(_ call: Call) { table.insert(call) }
    func answered(at index: Int, _ status: PacketStatus) { table.answered(at: index, status) }
    func client(at index: Int, _ header: PacketHeader) -> StreamDecision {
      table.client(at: index, header)
    }
    func server(at index: Int, _ header: PacketHeader) -> StreamDecision {
      table.server(at: index, header)
    }
    func removeAll(upstream: Int, _ each: (Call) -> Void) {
      table.removeAll(upstream: upstream, each)
    }
    func overdue(at now: Double, patience: Double) -> [UInt32] {
      table.overdue(at: now, patience: patience).map(\.serial)
    }
  }

  @Test("a call is found by program, version and serial together, until its reply")
  func find() throws {
    let table = Table()
    let key = Key(program: Program.remote, version: 1, serial: 5)
    #expect(table.find(key.header()) == nil)
    #expect(table.insert(Call(key.header(), upstream: 2), for: key.header()))
    let index = try #require(table.find(key.header(.reply)))
    #expect(table[index].procedure == key.procedure)
    #expect(table[index].upstream == 2)
    for other in [
      Key(program: Program.qemu, version: 1, serial: 5),
      Key(program: Program.remote, version: 2, serial: 5),
      Key(program: Program.remote, version: 1, serial: 6),
    ] { #expect(table.find(other.header()) == nil) }
    #expect((table.count, table.awaitedCount) == (1, 1))
    table.answered(at: index, .ok)
    #expect(table.find(key.header()) == nil)
    #expect((table.count, table.awaitedCount) == (0, 0))
  }

  @Test("a call with a stream stays until the stream has ended")
  func stream() throws {
    let table = Table()
    let key = Key(program: Program.remote, version: 1, serial: 9)
    let call = Call(key.header(), upstream: 0, stream: CallStream(isSparse: false))
    #expect(table.insert(call, for: key.header()))
    table.answered(at: try #require(table.find(key.header())), .ok)
    #expect((table.count, table.awaitedCount) == (1, 0))
    var data = key.header(.stream, .continue)
    data.length = 128
    #expect(table.server(at: try #require(table.find(data)), data) == .relay)
    #expect(table.client(at: try #require(table.find(data)), data) == .relay)
    #expect(table.client(at: try #require(table.find(data)), data) == .relay)
    let index = try #require(table.find(data))
    #expect((table[index].up.bytes, table[index].down.bytes) == (200, 100))
    #expect(table.client(at: index, key.header(.stream, .ok)) == .relay)
    #expect(table.client(at: index, data) == .drop)
    #expect(table[index].up.bytes == 200, "what is dropped is not counted")
    #expect(table.server(at: index, key.header(.stream, .ok)) == .relay)
    #expect(table.find(data) == nil)
    #expect(table.calls.isEmpty)
  }

  @Test("a refused call has no stream")
  func refused() throws {
    let table = Table()
    let key = Key(program: Program.remote, version: 1, serial: 9)
    let call = Call(key.header(), upstream: 0, stream: CallStream(isSparse: false))
    #expect(table.insert(call, for: key.header()))
    table.answered(at: try #require(table.find(key.header())), .error)
    #expect(table.calls.isEmpty)
  }

  @Test("a stream that failed before the reply to its call still waits for that reply")
  func failedFirst() throws {
    let table = Table()
    let key = Key(program: Program.remote, version: 1, serial: 9)
    let call = Call(key.header(), upstream: 0, stream: CallStream(isSparse: false))
    #expect(table.insert(call, for: key.header()))
    let failure = key.header(.stream, .error)
    #expect(table.server(at: try #require(table.find(failure)), failure) == .relay)
    #expect((table.count, table.awaitedCount) == (1, 1))
    table.answered(at: try #require(table.find(failure)), .ok)
    #expect((table.count, table.awaitedCount) == (0, 0))
  }

  @Test("stream packets of a call without a stream find nothing")
  func noStream() throws {
    let table = Table()
    let key = Key(program: Program.remote, version: 1, serial: 9)
    #expect(table.insert(Call(key.header(), upstream: 0), for: key.header()))
    #expect(table.findStream(key.header(.stream, .continue)) == nil)
    #expect(table.count == 1)
  }

  /// Calls with the same serial are also kept in a list; replies and streams must find what a search of the list
  /// finds.
  @Test("calls that share a serial are told apart", arguments: 0..<100 as Range<UInt64>)
  func shared(seed: UInt64) throws {
    var random = Seed(seed)
    let table = Table()
    var model: [Call] = []
    func header(_ kind: PacketKind = .call) -> PacketHeader {
      PacketHeader(
        procedure: Int32(random.pick(1...3)), kind: kind, serial: UInt32(random.pick(0...3)))
    }
    for _ in 0..<300 {
      let wanted = header(.reply)
      let upstream = random.pick(0...2)
      let stream = table.findStream(wanted)
      let isSame = { (call: Call) in
        call.serial == wanted.serial && call.procedure == wanted.procedure
      }
      #expect((stream != nil) == model.contains { isSame($0) && $0.stream != nil })
      switch random.pick(0...5) {
      case 0...2 where model.count < 30:
        let opens = stream == nil && random.once(in: 3)
        let call = Call(
          wanted, upstream: upstream, stream: opens ? CallStream(isSparse: false) : nil)
        table.insert(call)
        model.append(call)
      case 3...4:
        let found = table.findAwaited(wanted, upstream: upstream)
        let waiting = model.indices.filter {
          model[$0].serial == wanted.serial && model[$0].upstream == upstream
            && !model[$0].isAnswered
        }
        #expect((found != nil) == !waiting.isEmpty)
        guard let found else { break }
        let call = table[found]
        let hasExact = waiting.contains { isSame(model[$0]) }
        #expect(!hasExact || isSame(call), "the procedure decides where it can")
        let place = try #require(
          waiting.first {
            model[$0].procedure == call.procedure
              && (model[$0].stream == nil) == (call.stream == nil)
          })
        table.answered(at: found, .ok)
        if call.stream == nil { model.remove(at: place) } else { model[place].isAnswered = true }
      default:
        guard random.once(in: 12) else { break }
        var told = 0
        table.removeAll(upstream: upstream) { call in
          #expect(call.upstream == upstream)
          told += 1
        }
        #expect(told == model.count { $0.upstream == upstream })
        model.removeAll { $0.upstream == upstream }
      }
      #expect(table.count == model.count)
      #expect(table.awaitedCount == model.count { !$0.isAnswered })
      for call in model { #expect(table.find(call) != nil) }
    }
  }

  @Test("the calls of an upstream end in the order of their serials, each once")
  func removeAll() {
    let table = Table()
    for serial in [9, 3, 7, 1, 8, 2] as [UInt32] {
      let key = Key(program: Program.remote, version: 1, serial: serial)
      #expect(table.insert(Call(key.header(), upstream: Int(serial) % 2), for: key.header()))
    }
    var told: [UInt32] = []
    table.removeAll(upstream: 1) { told.append($0.serial) }
    #expect(told == [1, 3, 7, 9])
    table.removeAll(upstream: 1) { told.append($0.serial) }
    #expect(told.count == 4)
    #expect(Set(table.calls.map(\.serial)) == [2, 8])
    #expect(table.awaitedCount == 2)
  }

  @Test("a call without a reply is reported once, after its time limit")
  func overdue() throws {
    let table = Table()
    func begin(_ serial: UInt32, at now: Double, stream: CallStream? = nil) {
      let key = Key(program: Program.remote, version: 1, serial: serial)
      let call = Call(key.header(), upstream: 0, stream: stream, at: now)
      #expect(table.insert(call, for: key.header()))
    }
    func answer(_ serial: UInt32) throws {
      let key = Key(program: Program.remote, version: 1, serial: serial)
      table.answered(at: try #require(table.find(key.header())), .ok)
    }
    #expect(table.overdue(at: 100, patience: 10).isEmpty)
    for serial in [3, 1, 2] as [UInt32] { begin(serial, at: 100) }
    begin(4, at: 100, stream: CallStream(isSparse: false))
    #expect(table.overdue(at: 109, patience: 10).isEmpty)
    // Answered in time. A stream that continues is not a waiting call.
    try answer(2)
    try answer(4)
    begin(5, at: 109)
    #expect(table.overdue(at: 110, patience: 10) == [1, 3])
    // Enough calls to make the table grow.
    for serial in 6...20 as ClosedRange<UInt32> { begin(serial, at: 112) }
    #expect(table.overdue(at: 118, patience: 10).isEmpty, "each once")
    #expect(table.overdue(at: 119, patience: 10) == [5])
    // A call that reuses a serial is another call.
    try answer(1)
    begin(1, at: 120)
    #expect(table.overdue(at: 122, patience: 10) == Array(6...20))
    #expect(table.overdue(at: 129, patience: 10).isEmpty)
    #expect(table.overdue(at: 130, patience: 10) == [1])
  }

  /// A few serials, far apart and close together, so that probes collide, pass each other and wrap around the end of
  /// the table. Removals must leave no gap in a probe sequence.
  @Test("the table has the same content as a dictionary", arguments: 0..<300 as Range<UInt64>)
  func model(seed: UInt64) throws {
    var random = Seed(seed)
    let table = Table()
    var model: [Key: Call] = [:]
    let spread = UInt32(1) << UInt32(random.pick(0...24))
    func key() -> Key {
      Key(
        program: random.once(in: 4) ? Program.qemu : Program.remote,
        version: random.once(in: 8) ? 2 : 1,
        serial: UInt32(random.pick(0...40)) &* spread &+ (random.once(in: 3) ? .max - 5 : 0))
    }
    for _ in 0..<400 {
      let key = key()
      let index = table.find(key.header())
      #expect((index == nil) == (model[key] == nil))
      if let index { #expect(table[index].procedure == key.procedure) }
      switch random.pick(0...9) {
      case 0...4:
        let call = Call(
          key.header(), upstream: random.pick(0...3),
          stream: random.once(in: 3) ? CallStream(isSparse: false) : nil)
        #expect(table.insert(call, for: key.header()) == (model[key] == nil))
        if model[key] == nil { model[key] = call }
      case 5...7:
        guard let index, var call = model[key], !call.isAnswered else { break }
        let status: PacketStatus = random.once(in: 4) ? .error : .ok
        table.answered(at: index, status)
        call.isAnswered = true
        model[key] = call.stream != nil && status == .ok ? call : nil
      case 8:
        guard let index, model[key]?.stream != nil, model[key]?.isAnswered == true else { break }
        #expect(table.server(at: index, key.header(.stream, .error)) == .relay)
        model[key] = nil
      default:
        guard random.once(in: 10) else { break }
        let upstream = random.pick(0...3)
        var told: Set<Key> = []
        table.removeAll(upstream: upstream) { call in
          told.insert(Key(program: call.program, version: call.version, serial: call.serial))
        }
        #expect(told == Set(model.filter { $0.value.upstream == upstream }.keys))
        model = model.filter { $0.value.upstream != upstream }
      }
      #expect(table.count == model.count)
      #expect(table.awaitedCount == model.values.count { !$0.isAnswered })
    }
    for key in model.keys { #expect(table.find(key.header()) != nil) }
    #expect(
      Set(table.calls.map { Key(program: $0.program, version: $0.version, serial: $0.serial) })
        == Set(model.keys))
  }
}
