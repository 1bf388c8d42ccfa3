// How calls were answered: the relay counts, and the metrics read.

/// Answers by program, procedure and result, and how long daemons took for them, by driver. All clients' relays count
/// in the same one, each call with a few additions in flat memory.
public final class AnswerCounts {
  private struct Count {
    var good: UInt64 = 0
    var failed: UInt64 = 0
  }

  private static let programs = [Program.remote, Program.qemu, Program.lxc]
  /// The counts of each program lie behind those of the one before. Procedures that there is no name for are counted
  /// at the first place of their program, and programs that are not relayed at the very last.
  private let qemuPlaces: Int
  private let lxcPlaces: Int
  private let placeCount: Int
  private let counts: UnsafeMutablePointer<Count>
  /// From passing calls on to their answers, by the driver's number.
  public let latencies = Histograms(Driver.allCases.count)

  public init() {
    qemuPlaces = ProcedureTable.count(of: Program.remote) + 1
    lxcPlaces = qemuPlaces + ProcedureTable.count(of: Program.qemu) + 1
    placeCount = lxcPlaces + ProcedureTable.count(of: Program.lxc) + 1
    counts = .allocate(capacity: placeCount + 1)
    counts.initialize(repeating: Count(), count: placeCount + 1)
  }

  deinit { counts.deallocate() }

  /// Where the counts of a program begin, and how many there are.
  private func places(of program: UInt32) -> (first: Int, count: Int) {
    switch program {
    case Program.remote: (0, qemuPlaces)
    case Program.qemu: (qemuPlaces, lxcPlaces - qemuPlaces)
    case Program.lxc: (lxcPlaces, placeCount - lxcPlaces)
    default: (placeCount, 1)
    }
  }

  /// A call was answered, by a daemon or by the broker itself.
  public func note(_ program: UInt32, _ procedure: Int32, _ status: PacketStatus) {
    let (first, count) = places(of: program)
    let place = procedure > 0 && procedure < count ? first + Int(procedure) : first
    if status == .ok { counts[place].good &+= 1 } else { counts[place].failed &+= 1 }
  }

  /// A daemon has answered, so many seconds after it was passed the call.
  func note(_ call: borrowing Call, _ status: PacketStatus, after seconds: Double) {
    note(call.program, call.procedure, status)
    latencies.note(max(0, seconds), in: Int(call.driver.rawValue))
  }

  /// Every procedure of a program that was answered; 0 stands for those that there is no name for.
  public func each(
    of program: UInt32, _ body: (_ procedure: Int32, _ good: UInt64, _ failed: UInt64) -> Void
  ) {
    guard AnswerCounts.programs.contains(program) else { return }
    let (first, count) = places(of: program)
    for procedure in 0..<count {
      let count = counts[first + procedure]
      if count.good > 0 || count.failed > 0 { body(Int32(procedure), count.good, count.failed) }
    }
  }
}
