// The possible measurements, and the figures of each.
import Ends
import Foundation
import Gauges

/// A figure of a measurement, and how to print it.
struct Metric: Hashable, Codable, Sendable {
  enum Better: String, Codable { case higher, lower }
  var name: String
  var unit: String
  var better: Better
  /// Significant decimals.
  var places: Int
  /// Whether it gets a plot.
  var isPlotted = true
  /// The title of its plots, for readers who do not know the tables.
  var plotTitle = ""
  /// Whether the figures of different peers differ by powers of ten.
  var isLogarithmic = false

  /// The column's heading, with an arrow in the better direction.
  var heading: String { "\(name), \(unit) \(better == .higher ? "↑" : "↓")" }

  static let throughput = Metric(
    name: "throughput", unit: "GiB/s", better: .higher, places: 2,
    plotTitle: "Throughput")
  static let relayCPU = Metric(
    name: "relay's CPU", unit: "s/GiB", better: .lower, places: 3,
    plotTitle: "Processor time of the relay for each GiB")
  static let daemonCPU = Metric(
    name: "libvirtd's CPU", unit: "s/GiB", better: .lower, places: 3, isPlotted: false)
  static let rate = Metric(
    name: "rate", unit: "calls/s", better: .higher, places: 0, plotTitle: "Calls answered a second")
  static let p50 = Metric(
    name: "p50", unit: "µs", better: .lower, places: 1, plotTitle: "Time of a call: half are faster"
  )
  static let p99 = Metric(name: "p99", unit: "µs", better: .lower, places: 1, isPlotted: false)
  static let echoP50 = Metric(
    name: "echo p50", unit: "ms", better: .lower, places: 3,
    plotTitle: "Time until a keystroke is echoed: half are faster", isLogarithmic: true)
  static let echoP99 = Metric(
    name: "echo p99", unit: "ms", better: .lower, places: 3,
    plotTitle: "Time until a keystroke is echoed: 99 of 100 are faster", isLogarithmic: true)
  static let openings = Metric(
    name: "opening rate", unit: "1/s", better: .higher, places: 0, isPlotted: false)
  static let idleMemory = Metric(
    name: "memory per idle one", unit: "KiB", better: .lower, places: 1, isPlotted: false)
  static let callsBeside = Metric(
    name: "calls beside them", unit: "× without", better: .higher, places: 2, isPlotted: false)
  static let memory = Metric(
    name: "relay's memory", unit: "MiB", better: .lower, places: 1,
    plotTitle: "Memory of the relay")
  static let openP99 = Metric(
    name: "open p99", unit: "ms", better: .lower, places: 2, isPlotted: false)
  static let openCPU = Metric(
    name: "relay's CPU", unit: "µs/connection", better: .lower, places: 0, isPlotted: false)
  static let delivered = Metric(
    name: "delivered", unit: "events/s", better: .higher, places: 0,
    plotTitle: "Events delivered a second")
  static let delayP99 = Metric(
    name: "delay p99", unit: "ms", better: .lower, places: 2,
    plotTitle: "Delay of an event: 99 of 100 are faster")
  static let eventCPU = Metric(
    name: "relay's CPU", unit: "µs/event", better: .lower, places: 2,
    plotTitle: "Processor time of the relay for each delivered event")
  static let callCPU = Metric(
    name: "relay's CPU", unit: "µs/call", better: .lower, places: 2,
    plotTitle: "Processor time of the relay for each call")
}

/// The daemon behind a peer.
enum Backend: String, Codable, CaseIterable, Sendable {
  case synthetic
  /// The synthetic daemon, with TLS on the way to the relay.
  case tls
  case libvirtd
}

/// Where a measurement connects, and the process whose processor time it reads.
struct Subject: Sendable {
  var peer: String
  var place: Place
  /// The relay's process; nil without a relay.
  var process: pid_t?
  /// How a real client connects; nil if none can.
  var client: ClientWay?
}

/// The position in a family of measurements that differ only in one size: they share a line chart.
struct Position: Hashable, Codable, Sendable {
  var size: Double
  var unit: String
  var isInBytes: Bool
}

/// One kind of load. To add one, conform a type to this protocol and name it in `Loads.all`; the rotation, the
/// tables, the plots and the JSON follow from its properties.
protocol Load: Sendable {
  /// Its name in `--measure`. Several may share a name: they are selected together, and each has a `position`.
  var name: String { get }
  /// Its unique title in tables.
  var title: String { get }
  /// Its short name in plots.
  var label: String { get }
  /// With a `position`: the title of a plot over all sizes, after the metric's title.
  var family: String { get }
  /// Its metrics, the most important first.
  var metrics: [Metric] { get }
  var backend: Backend { get }
  var position: Position? { get }
  /// Whether it is measured only if `--measure` names it, because it takes long.
  var isExtra: Bool { get }
  /// Whether this peer is measured. A peer that the user started always is.
  func isFor(peer: String) -> Bool
  /// The time limit of a run in seconds; far more than a working peer needs.
  var patience: Double { get }
  /// Runs once. A metric that the subject cannot give is absent, such as processor time without a process.
  func measure(_ subject: Subject) throws -> [Metric: Double]
}

extension Load {
  var label: String { name }
  var family: String { name }
  var backend: Backend { .synthetic }
  var position: Position? { nil }
  var isExtra: Bool { false }
  func isFor(peer: String) -> Bool { true }
  var patience: Double { 60 }
}

/// The amount of each load.
struct Amounts: Sendable {
  var streamBytes: UInt64
  var callSeconds: Double
  var clientBytes: Int
  /// Seconds in which connections come and go.
  var openingSeconds = 10.0
}

enum Loads {
  /// All loads, in the order in which they are measured and reported.
  static func all(_ amounts: Amounts) -> [any Load] {
    [
      StreamLoad(name: "download", kind: .download, bytes: amounts.streamBytes, streams: 1),
      StreamLoad(name: "upload", kind: .upload, bytes: amounts.streamBytes, streams: 1),
      StreamLoad(name: "migration", kind: .migration, bytes: amounts.streamBytes, streams: 1),
      StreamLoad(name: "streams", kind: .download, bytes: amounts.streamBytes / 4, streams: 4),
      StreamLoad(
        name: "tls-download", kind: .download, bytes: amounts.streamBytes / 2, streams: 1,
        backend: .tls),
      StreamLoad(
        name: "tls-upload", kind: .upload, bytes: amounts.streamBytes / 2, streams: 1,
        backend: .tls),
      ConnectionsLoad(
        name: "tls-connections", count: 100, callSeconds: amounts.callSeconds, backend: .tls),
      CallLoad(name: "call", depth: 1, seconds: amounts.callSeconds),
      CallLoad(name: "calls", depth: 16, seconds: amounts.callSeconds),
      ConsoleLoad(beside: nil, seconds: amounts.callSeconds),
      ConsoleLoad(beside: .connection, seconds: amounts.callSeconds),
      ConsoleLoad(beside: .same, seconds: amounts.callSeconds),
      ConnectionsLoad(name: "connections", count: 200, callSeconds: amounts.callSeconds),
    ] + sizes(amounts) + scale(amounts) + [
      VirshLoad(kind: .download, bytes: amounts.clientBytes),
      VirshLoad(kind: .upload, bytes: amounts.clientBytes),
    ]
  }

  /// From the size of a keystroke to four times libvirt's usual packet.
  private static func sizes(_ amounts: Amounts) -> [any Load] {
    [TransferKind.download, .migration].flatMap { kind in
      [64, 256, 1024, 4096, 16_384, 65_536, 262_120, 1_048_576].map {
        SizeLoad(kind: kind, message: $0, seconds: amounts.callSeconds / 4)
      }
    }
  }

  /// How the cost grows with the number of clients.
  private static func scale(_ amounts: Amounts) -> [any Load] {
    let curves = [TransferKind.download, .upload].flatMap { kind in
      [1, 4, 16, 64, 256, 1000].map {
        CrowdLoad(kind: kind, connections: $0, seconds: amounts.callSeconds * 2)
      }
    }
    let events = [1, 10, 100, 1000].map {
      // The same number of deliveries in each: a thousand times a thousand would be more than the ends can do.
      EventsLoad(
        listeners: $0, perSecond: 10_000 / Double($0), seconds: amounts.callSeconds * 2)
    }
    return curves + [
      OpeningLoad(perSecond: 1000, seconds: amounts.openingSeconds),
      ConnectionsLoad(
        name: "idle", count: ConnectionsRun.mostHeld(of: 10_000), callSeconds: nil, isExtra: true),
    ] + events
  }

  static func names(_ measurements: [any Load]) -> [String] {
    measurements.reduce(into: []) { if !$0.contains($1.name) { $0.append($1.name) } }
  }
}

/// Streams in one direction.
struct StreamLoad: Load {
  var name: String
  var kind: TransferKind
  /// Bytes per stream.
  var bytes: UInt64
  var streams: Int
  var backend = Backend.synthetic

  var title: String {
    (backend == .tls ? "TLS " : "") + "\(kind.rawValue), "
      + (streams == 1 ? "one stream" : "\(streams) streams on one connection")
  }
  var label: String { streams == 1 ? name : "\(streams) streams" }
  var metrics: [Metric] { [.throughput, .relayCPU] }
  /// Assumes at least 16 MiB/s.
  var patience: Double { 60 + Double(bytes) * Double(streams) / Double(16 << 20) }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    let run = StreamRun(kind: kind, bytes: bytes, streams: streams)
    let figure = try run.measureWarm(subject.place, process: subject.process)
    var figures = [Metric.throughput: figure.gibPerSecond]
    figures[.relayCPU] = figure.cpuPerGiB
    return figures
  }
}

/// One stream with packets of a given size.
struct SizeLoad: Load {
  var kind: TransferKind
  var message: Int
  var seconds: Double

  var name: String { "\(kind.rawValue)-sizes" }
  var title: String { "\(kind.rawValue), \(message) bytes per message" }
  var label: String { String(message) }
  var family: String { "of a \(kind.rawValue) by the size of its packets" }
  var metrics: [Metric] { [.throughput] }
  var position: Position? {
    Position(size: Double(message), unit: "bytes of payload in a packet", isInBytes: true)
  }
  /// Through virtproxyd 9.0 a download in packets of 1 KiB that the client ended was not over a minute later.
  func isFor(peer: String) -> Bool { peer != Peer.virtproxyd.rawValue }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    let run = StreamRun(kind: kind, seconds: seconds, message: message)
    return [.throughput: try run.measureWarm(subject.place, process: nil).gibPerSecond]
  }
}

/// Keystrokes and their echoes.
struct ConsoleLoad: Load {
  var beside: ConsoleRun.Beside?
  var seconds: Double

  var name: String { "console" }
  var title: String {
    switch beside {
    case nil: "keystrokes, nothing else"
    case .connection: "keystrokes beside bulk streams on another connection"
    case .same: "keystrokes beside bulk streams on the same connection"
    }
  }
  var label: String {
    switch beside {
    case nil: "nothing else"
    case .connection: "bulk data on another connection"
    case .same: "bulk data on the same connection"
    }
  }
  var metrics: [Metric] { [.echoP50, .echoP99] }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    let figure = try ConsoleRun(perSecond: 100, seconds: seconds, beside: beside).measure(
      subject.place)
    return [.echoP50: figure.echo.p50 / 1000, .echoP99: figure.echo.p99 / 1000]
  }
}

/// Connections that are opened and then idle, and calls at the same time.
struct ConnectionsLoad: Load {
  var name: String
  var count: Int
  /// nil: calls are not measured beside them.
  var callSeconds: Double?
  var backend = Backend.synthetic
  var isExtra = false

  var title: String { "\(count) idle connections" + (backend == .tls ? " over TLS" : "") }
  var metrics: [Metric] {
    isExtra ? [.idleMemory, .openings] : [.openings, .idleMemory, .callsBeside]
  }
  /// Thousands of connections are too many for a process or two threads for each, for pipes, and for virtproxyd's
  /// threads, which would take minutes.
  func isFor(peer: String) -> Bool {
    !isExtra || !["socat", "limit", "haproxy-splice", "virtproxyd"].contains(peer)
  }
  var patience: Double { 120 }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    let run = ConnectionsRun(count: count, callSeconds: callSeconds)
    let figure = try run.measure(subject.place, process: subject.process) { _ in }
    var figures = [Metric.openings: figure.perSecond]
    figures[.idleMemory] = figure.residentPerConnection.map { $0 / 1024 }
    figures[.callsBeside] = zip(figure.callsBefore, figure.callsWhileHeld).map {
      $1.perSecond / $0.perSecond
    }
    return figures
  }
}

/// Repeated small calls on one connection.
struct CallLoad: Load {
  var name: String
  var depth: Int
  var seconds: Double

  var title: String { depth == 1 ? "calls, one at a time" : "calls, \(depth) under way" }
  var label: String { depth == 1 ? "one at a time" : "\(depth) under way" }
  var metrics: [Metric] {
    depth == 1 ? [.p50, .p99, .rate, .callCPU] : [.rate, .p50, .p99, .callCPU]
  }
  var patience: Double { 60 + 2 * seconds }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    let run = CallRun(depth: depth, seconds: seconds)
    let figure = try run.measure(subject.place, process: subject.process)
    var figures = [
      Metric.rate: figure.perSecond, .p50: figure.p50, .p99: figure.p99,
    ]
    figures[.callCPU] = figure.cpuPerCall
    return figures
  }
}

/// Streams on many connections at once, one on each.
struct CrowdLoad: Load {
  var kind: TransferKind
  var connections: Int
  var seconds: Double

  var name: String { "\(kind.rawValue)-connections" }
  var title: String {
    "\(kind.rawValue)s, " + (connections == 1 ? "one connection" : "\(connections) connections")
  }
  var label: String { String(connections) }
  var family: String { "of \(kind.rawValue)s by the number of connections" }
  var metrics: [Metric] { [.throughput, .relayCPU, .memory] }
  var position: Position? {
    Position(size: Double(connections), unit: "connections", isInBytes: false)
  }
  var isExtra: Bool { true }
  func isFor(peer: String) -> Bool {
    !["socat", "haproxy-splice", "haproxy-default"].contains(peer)
  }
  var patience: Double { 120 }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    let run = StreamRun(kind: kind, seconds: seconds, connections: connections)
    let figure = try run.measureWarm(subject.place, process: subject.process, isWatching: true)
    var figures = [Metric.throughput: figure.gibPerSecond]
    figures[.relayCPU] = figure.cpuPerGiB
    figures[.memory] = figure.memory.map { Double($0) / Double(1 << 20) }
    return figures
  }
}

/// Connections that come and go at a rate.
struct OpeningLoad: Load {
  var name: String { "opening" }
  var perSecond: Double
  var seconds: Double

  var title: String { "\(Int(perSecond)) connections a second, opened and closed" }
  var metrics: [Metric] { [.openP99, .openings, .openCPU] }
  var isExtra: Bool { true }
  var patience: Double { 120 + seconds }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    let run = OpeningRun(perSecond: perSecond, seconds: seconds)
    let figure = try run.measure(subject.place, process: subject.process)
    var figures = [Metric.openings: figure.perSecond, .openP99: figure.opening.p99 / 1000]
    figures[.openCPU] = figure.cpuPerOpening
    return figures
  }
}

/// Events that go to a number of listeners.
struct EventsLoad: Load {
  var listeners: Int
  var perSecond: Double
  var seconds: Double

  var name: String { "events" }
  var title: String {
    let deliveries = Int(perSecond * Double(listeners))
    return listeners == 1
      ? "\(deliveries) events a second to one listener"
      : "\(Int(perSecond)) events a second, each to \(listeners) listeners"
  }
  var label: String { String(listeners) }
  var family: String { "by the number of listeners, with the same number of deliveries" }
  var metrics: [Metric] { [.eventCPU, .delayP99, .delivered] }
  var position: Position? {
    Position(size: Double(listeners), unit: "listeners", isInBytes: false)
  }
  var isExtra: Bool { true }
  func isFor(peer: String) -> Bool {
    !["socat", "haproxy-splice", "haproxy-default"].contains(peer)
  }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    let run = EventsRun(listeners: listeners, perSecond: perSecond, seconds: seconds)
    let figure = try run.measure(subject.place, process: subject.process)
    var figures = [Metric.delivered: figure.delivered, .delayP99: figure.delay.p99 / 1000]
    figures[.eventCPU] = figure.cpuPerEvent
    return figures
  }
}
