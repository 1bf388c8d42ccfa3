// Counters of answers. The relay counts, and the metrics read.

/// Answers by program, procedure and result, and the latencies of daemons by driver. The relays of all clients share
/// one object. An answer costs a few additions in flat memory.
public final class AnswerCounts {
  private struct Count {
    var good: UInt64 = 0
    var failed: UInt64 = 0
  }

  private static let programs = [Program.remote, Program.qemu, Program.lxc]
  /// Each program's counts follow those of the program before. The first place of a program counts its unknown
  /// procedures. The last place of all counts the programs that the broker does not relay.
  private let qemuPlaces: Int
  private let lxcPlaces: Int
  private let placeCount: Int
  private let counts: UnsafeMutablePointer<Count>
  /// Seconds from forwarding a call to its answer, by the driver's number.
  public let latencies = Histograms(Driver.allCases.count)

  public init() {
    qemuPlaces = ProcedureTable.count(of: Program.remote) + 1
    lxcPlaces = qemuPlaces + ProcedureTable.count(of: Program.qemu) + 1
    placeCount = lxcPlaces + ProcedureTable.count(of: Program.lxc) + 1
    counts = .allocate(capacity: placeCount + 1)
    counts.initialize(repeating: Count(), count: placeCount + 1)
  }

  deinit { counts.deallocate() }

  /// The first place of a program's counts, and their number.
  private func places(of program: UInt32) -> (first: Int, count: Int) {
    switch program {
    case Program.remote: (0, qemuPlaces)
    case Program.qemu: (qemuPlaces, lxcPlaces - qemuPlaces)
    case Program.lxc: (lxcPlaces, placeCount - lxcPlaces)
    default: (placeCount, 1)
    }
  }

  /// Counts an answer, from a daemon or from the broker itself.
  public func note(_ program: UInt32, _ procedure: Int32, _ status: PacketStatus) {
    let (first, count) = places(of: program)
    let place = procedure > 0 && procedure < count ? first + Int(procedure) : first
    if status == .ok { counts[place].good &+= 1 } else { counts[place].failed &+= 1 }
  }

  /// Counts a daemon's answer. `seconds` is the time since the relay forwarded the call.
  func note(_ call: borrowing Call, _ status: PacketStatus, after seconds: Double) {
    note(call.program, call.procedure, status)
    latencies.note(max(0, seconds), in: Int(call.driver.rawValue))
  }

  /// Enumerates the procedures of a program that were answered; 0 stands for unknown procedures.
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
