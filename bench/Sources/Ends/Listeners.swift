// Clients that wait for events, many of them on one thread.
import CWait
import Glibc
import Streams

/// Connections that have registered for the lifecycle events of a domain of the synthetic daemon.
///
/// One thread serves all of them, so that a thousand listeners do not measure a thousand threads.
public final class Listeners {
  private var clients: [Client] = []
  private var callbacks: [Int32] = []
  private let queue: Int32

  /// Opens `count` connections, each of which then gets `rate` events per second. `source` names the local address of
  /// a connection by its number.
  public init(
    _ count: Int, at place: Place, perSecond rate: Double,
    from source: (Int) -> String? = { _ in nil }
  ) throws(EndFailure) {
    queue = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard queue >= 0 else { throw .system("making an epoll queue") }
    for number in 0..<count {
      let client = try Client(to: place, from: source(number), patience: 10_000)
      callbacks.append(try client.listen(perSecond: rate))
      var event = epoll_event()
      event.events = EPOLLIN.rawValue
      event.data.u64 = UInt64(number)
      guard epoll_ctl(queue, EPOLL_CTL_ADD, client.socket.descriptor, &event) == 0 else {
        throw .system("waiting for events")
      }
      clients.append(client)
    }
  }

  deinit { Glibc.close(queue) }

  /// Receives events for `seconds`. Passes the delay of each to `arrived`: from the moment at which it was due to its
  /// arrival, in nanoseconds. Only events that were due
  /// in this time count.
  public func receive(seconds: Double, arrived: (_ nanoseconds: UInt64) -> Void) throws(EndFailure)
  {
    let start = now()
    let end = start + UInt64(seconds * 1e9)
    var ready = [epoll_event](repeating: epoll_event(), count: 256)
    while case let time = now(), time < end {
      let milliseconds = Int32((end - time) / 1_000_000 + 1)
      let count = epoll_wait(queue, &ready, Int32(ready.count), milliseconds)
      if count < 0, errno != EINTR { throw .system("waiting for events") }
      for event in ready.prefix(Int(max(0, count))) {
        try clients[Int(event.data.u64)].receiveEvents { moment in
          if moment >= start, moment < end { arrived(now() - moment) }
        }
      }
    }
  }

  /// Unregisters and closes all connections.
  public func close() throws(EndFailure) {
    for (client, callback) in zip(clients, callbacks) {
      try client.stopListening(callback)
      try client.close()
    }
  }
}

extension Client {
  /// Registers for lifecycle events of the domain with this rate of events. Returns the callback's number.
  func listen(perSecond rate: Double) throws(EndFailure) -> Int32 {
    let domain = DomainBody(name: "\(Endpoint.eventsPrefix)\(rate)")
    try call(
      Packets.make(
        nextCall(Call.domainCallbackRegister),
        EventRegisterArguments(kind: EventRegisterArguments.lifecycle, domain: domain)))
    return try decode(CallbackBody.self).callback
  }

  func stopListening(_ callback: Int32) throws(EndFailure) {
    try call(
      Packets.make(nextCall(Call.domainCallbackDeregister), CallbackBody(callback: callback)))
  }

  /// Takes the events that have arrived, without waiting, and passes the moment at which each was due.
  func receiveEvents(_ arrived: (UInt64) -> Void) throws(EndFailure) {
    while try inflow.receive() {
      while let header = try inflow.wholePacket() {
        guard header.kind == .message, header.procedure == Call.domainCallbackLifecycle else {
          continue
        }
        arrived(try decode(LifecycleEventBody.self).moment)
      }
    }
  }
}
