// The thread pools that virt-admin reports and changes. The broker has none; scripts expect the numbers.
import Streams

/// Configured sizes of one server's thread pool, as libvirt's configuration file has them.
public struct WorkerSettings: Sendable, Equatable {
  public var minimum: UInt32
  public var maximum: UInt32
  public var priority: UInt32

  public init(minimum: UInt32 = 5, maximum: UInt32 = 20, priority: UInt32 = 0) {
    self.minimum = minimum
    self.maximum = maximum
    self.priority = priority
  }
}

/// What one server reports about its thread pool: the numbers of an idle libvirt daemon with the same settings and
/// changes. They start and end no thread.
struct ThreadPoolReport {
  private var minimum: UInt32
  private var maximum: UInt32
  private var priority: UInt32
  /// Ordinary workers that libvirt's daemon would have: a pool grows to its minimum and shrinks to its maximum.
  private var workers: UInt32

  static let changeable: Set<String> = ["minWorkers", "maxWorkers", "prioWorkers"]

  /// libvirt lowers a configured minimum to the maximum.
  init(_ settings: WorkerSettings) {
    minimum = min(settings.minimum, settings.maximum)
    maximum = settings.maximum
    priority = settings.priority
    workers = minimum
  }

  /// - Parameter busy: workers that answer a call now.
  func parameters(busy: UInt32) -> [TypedParameter] {
    [
      TypedParameter("minWorkers", .uint(minimum)),
      TypedParameter("maxWorkers", .uint(maximum)),
      TypedParameter("nWorkers", .uint(workers)),
      TypedParameter("freeWorkers", .uint(workers - min(workers, busy))),
      TypedParameter("prioWorkers", .uint(priority)),
      TypedParameter("jobQueueDepth", .uint(0)),
    ]
  }

  /// Changes the given values, by libvirt's rules and with its errors.
  mutating func change(_ wanted: [String: UInt32]) throws(RemoteError) {
    let most = wanted["maxWorkers"] ?? maximum
    let least = wanted["minWorkers"] ?? minimum
    guard least <= most else {
      throw RemoteError(
        .invalidArgument, domain: .none, .minimumAboveMaximum)
    }
    guard (most == 0) == (maximum == 0) else {
      throw RemoteError(
        .invalidArgument, domain: .none, .maximumSwitchedToZero)
    }
    (minimum, maximum) = (least, most)
    priority = wanted["prioWorkers"] ?? priority
    workers = min(max(workers, minimum), maximum)
  }
}
