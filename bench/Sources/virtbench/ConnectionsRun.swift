// Many connections: how fast they open, what they cost while they do nothing.
import Ends
import Foundation
import Gauges

/// Connections that are opened, called on once, and held.
struct ConnectionsRun: Codable, Equatable {
  var count: Int
  /// Connections that are being opened at a time.
  var atOnce = 1
  /// How long calls on another connection are measured, before and while the connections are held.
  var callSeconds: Double?

  struct Figure: Codable {
    var perSecond: Double
    /// From the connection to the answer to its first call, in microseconds.
    var opening: Quantiles
    /// What the process grew by for each connection, in bytes; nil if none was named.
    var residentPerConnection: Double?
    var proportionalPerConnection: Double?
    /// Processor microseconds of the process for each opening.
    var cpuPerOpening: Double?
    var callsBefore: CallRun.Figure?
    var callsWhileHeld: CallRun.Figure?
  }

  /// `opened` is told now and then how many connections are open.
  func measure(_ place: Place, process: pid_t?, opened: @escaping @Sendable (Int) -> Void)
    throws -> Figure
  {
    try Self.makeRoom(for: count)
    // What the first connections make a process allocate for all of them is not theirs.
    for _ in 0..<16 { try open(place, 0).value.close() }
    let calls = callSeconds.map { CallRun(depth: 1, seconds: $0) }
    let callsBefore = try calls?.measure(place, process: process)
    usleep(200_000)
    let memoryBefore = try process.map(memory)
    let clock = try process.map(processorClock)

    let start = now()
    let parts = try inParallel(atOnce) { part in
      var latencies = Latencies()
      var clients: [Handed<Client>] = []
      for number in stride(from: part, to: count, by: atOnce) {
        let begin = now()
        do {
          clients.append(try open(place, number))
        } catch {
          throw EndFailure("connection \(number + 1) of \(count): \(error)")
        }
        latencies.add(now() - begin)
        if part == 0, number / atOnce % 64 == 0 { opened(number) }
      }
      return (latencies, clients)
    }
    let elapsed = Double(now() - start) / 1e9
    let used = try zip(process, clock).map { try processorClock($0).since($1) }
    usleep(200_000)
    let memoryAfter = try process.map(memory)
    let callsWhileHeld = try calls?.measure(place, process: process)

    var latencies = Latencies()
    for part in parts { latencies.add(part.0) }
    func perConnection(_ part: KeyPath<Memory, Int>) -> Double? {
      zip(memoryBefore, memoryAfter).map {
        Double($1[keyPath: part] - $0[keyPath: part]) / Double(count)
      }
    }
    return Figure(
      perSecond: Double(count) / elapsed, opening: Quantiles(latencies),
      residentPerConnection: perConnection(\.resident),
      proportionalPerConnection: perConnection(\.proportional),
      cpuPerOpening: used.map { $0 * 1e6 / Double(count) }, callsBefore: callsBefore,
      callsWhileHeld: callsWhileHeld)
  }

  /// One connection that has had an answer. A daemon that is full does not refuse, it is silent.
  private func open(_ place: Place, _ number: Int) throws -> Handed<Client> {
    var source: String?
    switch place {
    case .tcp("127.0.0.1", _), .tls("127.0.0.1", _, _):
      // Ports of one address are scarce, and some may still linger from the time before.
      source = "127.0.\(number / 4000 / 250).\(2 + number / 4000 % 250)"
    default: break
    }
    let client = try Client(to: place, from: source, patience: 10_000)
    try client.callOnce()
    return Handed(client)
  }

  private func memory(_ process: pid_t) throws -> Memory {
    guard let memory = Memory(of: process) else {
      throw EndFailure("the memory of process \(process) cannot be read")
    }
    return memory
  }

  /// Raises the limit of open files as far as it goes; a failure if that is not enough.
  static func makeRoom(for connections: Int) throws {
    let most = raiseFileLimit()
    // What the program itself has open, with room for a few threads' timers.
    let others = 64
    guard connections <= most - others else {
      throw EndFailure(
        "\(connections) connections need \(connections + others) open files, but the hard limit is "
          + "\(most): hold at most \(most - others), or raise the limit (ulimit -Hn)")
    }
  }
}

/// Raises the soft limit of open files to the hard one; what it is then.
@discardableResult
func raiseFileLimit() -> Int {
  let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  var limit = rlimit()
  guard getrlimit(files, &limit) == 0 else { return 1024 }
  limit.rlim_cur = limit.rlim_max
  setrlimit(files, &limit)
  return getrlimit(files, &limit) == 0 ? Int(clamping: limit.rlim_cur) : 1024
}
