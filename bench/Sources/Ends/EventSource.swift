// The events that the synthetic daemon sends to one registered callback.
import Glibc
import Streams

/// Lifecycle events of one domain at a fixed rate. An event carries the moment at which it was due, so that the
/// receiver knows how long it was under way.
///
/// The times are the same for every callback with this rate, because a real daemon sends an event to all of its
/// listeners at once. Events that cannot be sent in time are sent later; none is left out.
final class EventSource {
  /// The limit on a rate, in events per second.
  static let fastest = 1_000_000.0

  private let schedule: Schedule
  private let timer: Timer
  private var sent: UInt64 = 0
  private var body: LifecycleEventBody

  init(callback: Int32, domain: DomainBody, perSecond rate: Double) throws(EndFailure) {
    timer = try Timer()
    let interval = 1e9 / rate
    // The first one is due within an interval.
    let start = UInt64((Double(now()) / interval).rounded(.up) * interval)
    schedule = Schedule(from: start, perSecond: rate)
    body = LifecycleEventBody(callback: callback, domain: domain, moment: 0)
  }

  /// Queues the events that are due, as many as have room.
  func putDue(into outflow: Outflow) throws(EndFailure) {
    let time = now()
    while outflow.hasRoom, case let moment = schedule.moment(sent), moment <= time {
      body.moment = moment
      try outflow.put(Packets.event(Call.domainCallbackLifecycle, body))
      sent += 1
    }
  }

  /// Waits until an event is due, `moment` has come, or the socket can be read.
  func wait(on socket: Socket, or moment: UInt64?) {
    timer.set(min(schedule.moment(sent), moment ?? .max))
    socket.wait(for: POLLIN, or: timer)
  }
}
