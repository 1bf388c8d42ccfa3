// Virtual time: what is due, and the sessions whose sockets and timers a simulated broker watches.
@testable import Streams

/// The event loop of one run. Everything that happens, happens in one of its steps, in an order that follows from the seed
/// alone.
final class SimulatedLoop {
  private struct Due {
    let time: Double
    let order: Int
    let body: () -> Void

    func isBefore(_ other: Due) -> Bool { (time, order) < (other.time, other.order) }
  }

  private(set) var now = 0.0
  var trace = Trace()
  private(set) var problem: String?
  /// Sessions that are not over.
  private(set) var sessions: [SessionWorld] = []
  private(set) var steps = 0
  private var random: Seed
  /// A heap: each entry is due before the two behind it.
  private var agenda: [Due] = []
  private var order = 0
  /// Of the step under way: sessions with a ready socket.
  private var ready: [(session: SessionWorld, socket: Int)] = []
  /// What happens, for a reader.
  var narrate: ((String) -> Void)?

  init(seed: UInt64) { random = Seed(seed) }

  func report(_ text: String) { problem = problem ?? text }

  func tell(_ text: @autoclosure () -> String) {
    guard let narrate else { return }
    narrate("\(now) \(text())")
  }

  func add(_ session: SessionWorld) { sessions.append(session) }

  // MARK: Agenda

  func schedule(in seconds: Double, _ body: @escaping () -> Void) {
    order += 1
    agenda.append(Due(time: now + seconds, order: order, body: body))
    var child = agenda.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard agenda[child].isBefore(agenda[parent]) else { break }
      agenda.swapAt(child, parent)
      child = parent
    }
  }

  private func takeNext() -> Due? {
    guard !agenda.isEmpty else { return nil }
    agenda.swapAt(0, agenda.count - 1)
    let next = agenda.removeLast()
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < agenda.count && agenda[child].isBefore(agenda[least]) {
        least = child
      }
      guard least != parent else { return next }
      agenda.swapAt(parent, least)
      parent = least
    }
  }

  // MARK: Steps

  /// One turn of the loop: a socket that is ready, a timer, or what is due next.
  func step() {
    steps += 1
    let timed = sessions.min { $0.nextTimer < $1.nextTimer }
    let ringsAt = timed?.nextTimer ?? .infinity
    let due = min(ringsAt, agenda.first?.time ?? .infinity)
    if let (session, socket) = readySocket(), due > now + 0.01 || !random.once(in: 4) {
      now += Double(random.pick(1...4)) * 0.001
      session.socketReady(socket)
    } else if let timed, ringsAt < .infinity, ringsAt <= due {
      // A loop's timer may ring early by what clocks differ.
      now = max(now, random.once(in: 2) ? ringsAt : ringsAt - 0.0004)
      timed.timerRings()
    } else if let next = takeNext() {
      now = max(now, next.time)
      next.body()
    } else {
      report("nothing will happen any more")
    }
    trace.mix(now)
    for session in sessions { session.checkClock() }
  }

  /// The sockets that the loop would report: one of them.
  private func readySocket() -> (session: SessionWorld, socket: Int)? {
    ready.removeAll(keepingCapacity: true)
    for session in sessions { session.eachReadySocket { ready.append((session, $0)) } }
    return ready.randomElement(using: &random)
  }

  /// The sessions that have ended since the last call.
  func takeEnded() -> [SessionWorld] {
    guard sessions.contains(where: \.isOver) else { return [] }
    let ended = sessions.filter(\.isOver)
    sessions.removeAll(where: \.isOver)
    return ended
  }

  /// Lets go of everything: what is due keeps what it is about.
  func end() {
    agenda = []
    sessions = []
    ready = []
  }
}
