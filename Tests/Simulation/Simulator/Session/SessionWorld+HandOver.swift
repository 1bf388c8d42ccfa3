// Moves a simulated session to another driver, as an upgrade of the broker does.
@testable import Streams

extension SessionWorld {
  /// A driver made from what the one before has written takes its place, with the same connections.
  func handOverAtTimes() {
    guard moves.once(in: 20), !isOver, !isInTurn, driver.mobility == .movable else { return }
    let old = driver
    do throws(Violation) {
      var written = SnapshotCoder()
      try old.write(to: &written)
      var coder = SnapshotCoder(reading: written.bytes, descriptors: written.descriptors)
      let new = try read(&coder, maxRequests: old.relay.maxRequests)
      if let problem = SnapshotCheck.problem(written, coder, new.write) { report(problem) }
      moved(to: new, by: written)
      old.abandon()
      turn { new.begin(restoredAt: now) }
    } catch {
      report("the snapshot is refused: \(error)")
    }
  }

  private func read(
    _ coder: inout SnapshotCoder, maxRequests: Int
  ) throws(Violation) -> SessionDriver {
    try SessionDriver(
      from: &coder, settings, host: self, client: client.socket, pool: pool,
      maxRequests: maxRequests, watermarks: SessionWorld.watermarks,
      largestWhole: SessionWorld.largestWhole
    ) { id in connections.first { $0.id == id }?.backend?.socket }
  }

  /// Reads a snapshot without going on with it. Returns why it is refused.
  func reads(_ bytes: [UInt8], _ descriptors: [Int32]) -> Violation? {
    var coder = SnapshotCoder(reading: bytes, descriptors: descriptors)
    do throws(Violation) {
      try read(&coder, maxRequests: 5).abandon()
      return nil
    } catch {
      return error
    }
  }
}

/// What must hold of every snapshot.
enum SnapshotCheck {
  /// - Parameters:
  ///   - read: the coder that has read what was written.
  ///   - write: writes what was read.
  static func problem(
    _ written: SnapshotCoder, _ read: SnapshotCoder,
    _ write: (inout SnapshotCoder) throws(Violation) -> Void
  ) -> String? {
    if read.remaining > 0 { return "\(read.remaining) bytes of a snapshot were not read" }
    if read.descriptors.contains(where: { $0 >= 0 }) { return "a descriptor was not taken" }
    var again = SnapshotCoder()
    do throws(Violation) {
      try write(&again)
    } catch {
      return "what was read cannot be written: \(error)"
    }
    if again.bytes != written.bytes {
      let same = zip(again.bytes, written.bytes).prefix { $0 == $1 }.count
      return "a snapshot of what was read is another one from byte \(same) of "
        + "\(written.bytes.count) on: \(again.bytes.count) bytes"
    }
    return again.descriptors == written.descriptors ? nil : "other descriptors were read"
  }
}
