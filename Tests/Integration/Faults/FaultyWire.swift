// A socket relay with faults.
import Foundation
import Synchronization

/// Accepts connections at one address and forwards each to another, in both directions, until by its seed it stalls
/// one, sends byte by byte, ends one direction, cuts the connection inside a packet or resets it. One thread serves
/// all of them. Descriptors are not passed on.
final class FaultyWire: @unchecked Sendable {
  enum Address: Sendable {
    case unix(String)
    case tcp(Int)
  }

  enum Fault: Int, CaseIterable, Sendable {
    case stall, trickle, halfClose, cut, reset
    /// The frequency of this fault in percent.
    fileprivate var share: Int { [40, 30, 8, 12, 10][rawValue] }
  }

  private struct State {
    /// Whether no new faults start and lasting ones end.
    var isCalm = true
    var isOver = false
    var isCutting = false
    var counts: [Fault: Int] = [:]
    var open = 0
  }

  let port: Int
  private let listener: Int32
  private let path: String?
  private let target: Address
  private let meanSeconds: Double
  private let state = Mutex(State())
  private let finished = DispatchSemaphore(value: 0)

  /// Listens at `address` (port 0: any). Each connection has a fault every `meanSeconds` on average.
  init(at address: Address, to target: Address, seed: UInt64, meanSeconds: Double) throws {
    self.target = target
    self.meanSeconds = meanSeconds
    (listener, port) = try Sockets.listen(at: address)
    if case .unix(let path) = address { self.path = path } else { path = nil }
    let thread = Thread { [self] in
      carry(Dice(seed))
      finished.signal()
    }
    thread.stackSize = 1 << 20
    thread.start()
  }

  /// While it is true, as at first, all bytes pass unchanged.
  var isCalm: Bool {
    get { state.withLock(\.isCalm) }
    set { state.withLock { $0.isCalm = newValue } }
  }

  /// Cuts all connections.
  func cutAll() { state.withLock { $0.isCutting = true } }

  /// The number of connections.
  var openCount: Int { state.withLock { $0.open } }
  var faults: [Fault: Int] { state.withLock { $0.counts } }

  func stop() {
    let isFirst = state.withLock { state in
      defer { state.isOver = true }
      return !state.isOver
    }
    guard isFirst else { return }
    finished.wait()
    close(listener)
    if let path { unlink(path) }
  }

  deinit { stop() }

  // MARK: The thread

  /// One direction of a connection.
  private final class Flow {
    let source: Int32
    let sink: Int32
    var buffer: [UInt8] = []
    var sent = 0
    var hasEnded = false
    var isShut = false
    var stalledUntil = 0.0
    /// Bytes still to be sent one by one.
    var trickle = 0
    /// Bytes that still pass before the connection is cut; nil: no limit.
    var allowance: Int?

    init(_ source: Int32, _ sink: Int32) { (self.source, self.sink) = (source, sink) }

    var waiting: Int { buffer.count - sent }
  }

  private final class Connection {
    let ends: (Int32, Int32)
    let flows: [Flow]
    var faultAt: Double
    var isOver = false

    init(_ near: Int32, _ far: Int32, faultAt: Double) {
      ends = (near, far)
      flows = [Flow(near, far), Flow(far, near)]
      self.faultAt = faultAt
    }

    func end(hard: Bool) {
      isOver = true
      for descriptor in [ends.0, ends.1] {
        if hard {
          var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
          setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &linger,
            socklen_t(MemoryLayout.size(ofValue: linger)))
        }
        close(descriptor)
      }
    }
  }

  private static var clock: Double { ProcessInfo.processInfo.systemUptime }

  private func carry(_ seed: Dice) {
    var dice = seed
    var connections: [Connection] = []
    var room = [UInt8](repeating: 0, count: 65_536)
    var watched: [pollfd] = []
    while true {
      let (isCalm, isOver, isCutting) = state.withLock { state in
        defer { state.isCutting = false }
        return (state.isCalm, state.isOver, state.isCutting)
      }
      if isOver || isCutting {
        for connection in connections where !connection.isOver { connection.end(hard: true) }
        connections = []
        if isOver { return }
      }
      let now = Self.clock
      var isTrickling = false
      watched = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
      for connection in connections {
        if isCalm {
          for flow in connection.flows { (flow.stalledUntil, flow.trickle) = (0, 0) }
        } else if now >= connection.faultAt {
          hurt(connection, at: now, &dice)
        }
        for flow in connection.flows {
          let isStalled = flow.stalledUntil > now
          if flow.trickle > 0, flow.waiting > 0, !isStalled { isTrickling = true }
          let mayRead = !flow.hasEnded && flow.waiting == 0 && !isStalled
          watched.append(
            pollfd(fd: mayRead ? flow.source : -1, events: Int16(POLLIN), revents: 0))
          let mustWrite = flow.waiting > 0 && flow.trickle == 0 && !isStalled
          watched.append(
            pollfd(fd: mustWrite ? flow.sink : -1, events: Int16(POLLOUT), revents: 0))
        }
      }
      _ = poll(&watched, nfds_t(watched.count), isTrickling ? 1 : 10)
      if watched[0].revents != 0,
        let connection = accepted(faultAt: now + dice.wait(mean: meanSeconds))
      {
        connections.append(connection)
      }
      for (index, connection) in connections.enumerated() where 4 * index + 4 < watched.count {
        for (side, flow) in connection.flows.enumerated() where !connection.isOver {
          let place = 1 + 4 * index + 2 * side
          if watched[place].revents != 0 { fill(flow, &room) }
          if flow.waiting > 0, flow.stalledUntil <= now { drain(flow, of: connection) }
          if flow.hasEnded, flow.waiting == 0, !flow.isShut, !connection.isOver {
            flow.isShut = true
            shutdown(flow.sink, Int32(SHUT_WR))
          }
        }
        if !connection.isOver, connection.flows.allSatisfy(\.isShut) { connection.end(hard: false) }
      }
      connections.removeAll(where: \.isOver)
      state.withLock { [count = connections.count] in $0.open = count }
    }
  }

  private func accepted(faultAt: Double) -> Connection? {
    let near = accept(listener, nil, nil)
    guard near >= 0 else { return nil }
    _ = fcntl(near, F_SETFD, FD_CLOEXEC)
    guard let far = try? Sockets.connect(to: target) else {
      close(near)
      return nil
    }
    for descriptor in [near, far] { Sockets.prepare(descriptor) }
    return Connection(near, far, faultAt: faultAt)
  }

  private func fill(_ flow: Flow, _ room: inout [UInt8]) {
    let count = recv(flow.source, &room, room.count, 0)
    if count > 0 {
      flow.buffer = Array(room[..<count])
      flow.sent = 0
    } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
      flow.hasEnded = true
    }
  }

  private func drain(_ flow: Flow, of connection: Connection) {
    var count = flow.trickle > 0 ? 1 : flow.waiting
    if let allowance = flow.allowance { count = min(count, allowance) }
    let sent = flow.buffer[flow.sent...].withUnsafeBytes {
      send(flow.sink, $0.baseAddress, count, Int32(MSG_NOSIGNAL))
    }
    guard sent > 0 else {
      if count == 0 || (errno != EAGAIN && errno != EINTR) { connection.end(hard: count == 0) }
      return
    }
    flow.sent += sent
    flow.trickle = max(0, flow.trickle - 1)
    if let allowance = flow.allowance {
      flow.allowance = allowance - sent
      if allowance == sent { connection.end(hard: true) }
    }
  }

  private func hurt(_ connection: Connection, at now: Double, _ dice: inout Dice) {
    connection.faultAt = now + dice.wait(mean: meanSeconds)
    let flow = connection.flows[dice.pick(0...1)]
    var number = dice.pick(1...100)
    let fault = Fault.allCases.first { fault in
      number -= fault.share
      return number <= 0
    }
    switch fault {
    case .stall: flow.stalledUntil = now + Double(dice.pick(50...2000)) / 1000
    case .trickle: flow.trickle = dice.pick(1...600)
    case .halfClose: flow.hasEnded = true
    case .cut: flow.allowance = dice.pick(1...100_000)
    case .reset, nil: connection.end(hard: true)
    }
    state.withLock { $0.counts[fault ?? .reset, default: 0] += 1 }
  }
}
