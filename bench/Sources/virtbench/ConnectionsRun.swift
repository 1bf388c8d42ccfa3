// Many connections: how fast they open, and what they cost while idle.
import Ends
import Foundation
import Gauges

/// Connections that are opened, used for one call, and kept open.
struct ConnectionsRun: Codable, Equatable {
  var count: Int
  /// Connections that are opened concurrently.
  var atOnce = 1
  /// How long calls on another connection are measured, before and while the connections are open.
  var callSeconds: Double?

  struct Figure: Codable {
    var perSecond: Double
    /// From connecting to the reply to the first call, in microseconds.
    var opening: Quantiles
    /// The growth of the process per connection, in bytes; nil without a process.
    var residentPerConnection: Double?
    var proportionalPerConnection: Double?
    /// Processor microseconds of the process per opened connection.
    var cpuPerOpening: Double?
    var callsBefore: CallRun.Figure?
    var callsWhileHeld: CallRun.Figure?
  }

  /// `opened` is called from time to time with the number of open connections.
  func measure(_ place: Place, process: pid_t?, opened: @escaping @Sendable (Int) -> Void)
    throws -> Figure
  {
    try Self.makeRoom(for: count)
    // Warm up: what a process allocates once, at its first connections, does not count.
    for _ in 0..<16 { try Self.open(place, 0).value.close() }
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
          clients.append(try Self.open(place, number))
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

    // The relay gets rid of them now, not while the next measurement runs.
    for part in parts {
      for client in part.1 { try client.value.close() }
    }

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

  /// One connection after its first reply. A daemon at its limit does not refuse; it does not answer.
  static func open(_ place: Place, _ number: Int) throws -> Handed<Client> {
    let client = try Client(to: place, from: source(place, number), patience: 10_000)
    try client.callOnce()
    return Handed(client)
  }

  /// The local address of a connection: one address has few ports, and some may still be in TIME_WAIT.
  static func source(_ place: Place, _ number: Int) -> String? {
    switch place {
    case .tcp("127.0.0.1", _), .tls("127.0.0.1", _, _):
      "127.0.\(number / 4000 / 250).\(2 + number / 4000 % 250)"
    default: nil
    }
  }

  private func memory(_ process: pid_t) throws -> Memory {
    guard let memory = Memory(of: process) else {
      throw EndFailure("the memory of process \(process) cannot be read")
    }
    return memory
  }

  /// The program's own descriptors, including a few threads' timers.
  private static let others = 64

  /// The most connections that can be measured, at most `wanted`: a relay needs two descriptors for each.
  static func mostHeld(of wanted: Int) -> Int { min(wanted, (raiseFileLimit() - 300) / 2) }

  /// Raises the limit on open files as far as possible. Fails if that is not enough.
  static func makeRoom(for connections: Int) throws {
    let most = raiseFileLimit()
    guard connections <= most - others else {
      throw EndFailure(
        "\(connections) connections need \(connections + others) open files, but the hard limit is "
          + "\(most): hold at most \(most - others), or raise the limit (ulimit -Hn)")
    }
  }
}

/// Raises the soft limit on open files to the hard one and returns it.
@discardableResult
func raiseFileLimit() -> Int {
  let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  var limit = rlimit()
  guard getrlimit(files, &limit) == 0 else { return 1024 }
  limit.rlim_cur = limit.rlim_max
  setrlimit(files, &limit)
  return getrlimit(files, &limit) == 0 ? Int(clamping: limit.rlim_cur) : 1024
}
