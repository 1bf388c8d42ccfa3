// What calls leave behind, and which may be sent again.
import Testing

@testable import Streams

@Suite("call effects")
struct CallEffectTests {
  private static let all = (1...Int32(ProcedureTable.count(of: Program.remote))).compactMap {
    number in
    ProcedureTable.find(program: Program.remote, procedure: number).map { (number, $0) }
  }

  @Test(
    "what may be sent again is a call that only reads: no stream, no descriptors, no disclosure")
  func readsOnly() {
    let repeatable = Self.all.filter { CallEffect.of(Program.remote, $0.0) == .readsOnly }
    #expect(repeatable.count > 150)
    for (number, procedure) in repeatable {
      #expect(
        !procedure.isEvent && procedure.stream == .none && procedure.descriptors.isEmpty,
        "\(number)")
      // Whether it migrates, libvirt asks for the permission; these two only tell a setting.
      let isSetting = number == 299 || number == 387
      #expect(procedure.access == .read || isSetting || number == 14 || number == 186, "\(number)")
      let name = "\(procedure.name)"
      let reads = ["_GET_", "_LIST", "_NUM", "_LOOKUP_", "_IS_", "_HAS_", "_STATS", "_CURRENT"]
      let others = [
        "CONNECT_SUPPORTS_FEATURE", "CONNECT_COMPARE_CPU", "CONNECT_BASELINE_CPU",
      ]
      #expect(reads.contains { name.contains($0) } || others.contains(name), "\(name)")
    }
  }

  @Test("what reads and clears, discloses or asks the guest's agent is not sent again")
  func excluded() {
    for procedure: Int32 in [298, 103, 104, 145, 396, 353, 418, 419, 8, 316, 360, 1, 2, 4000, -1] {
      #expect(CallEffect.of(Program.remote, procedure) != .readsOnly, "\(procedure)")
    }
    #expect(CallEffect.of(Program.qemu, 1) == .lasting)
  }

  @Test("every registration for events and its end is known")
  func registrations() {
    for (number, procedure) in Self.all {
      let name = "\(procedure.name)"
      guard name.hasPrefix("CONNECT_"), name.contains("EVENT_"), !procedure.isEvent else {
        continue
      }
      let effect = CallEffect.of(Program.remote, number)
      #expect(
        effect == (name.contains("DEREGISTER") ? .removesRegistration : .addsRegistration),
        "\(name)")
    }
  }

  @Test("every phase of a migration is known")
  func migrations() {
    for (number, procedure) in Self.all where "\(procedure.name)".hasPrefix("DOMAIN_MIGRATE_") {
      let name = "\(procedure.name)"
      let expected: [(String, CallEffect)] = [
        ("_BEGIN", .beginsMigration), ("_PREPARE", .beginsMigration),
        ("_PERFORM", .performsMigration), ("_FINISH", .endsMigration), ("_CONFIRM", .endsMigration),
      ]
      guard let (_, effect) = expected.first(where: { name.contains($0.0) }) else { continue }
      #expect(CallEffect.of(Program.remote, number) == effect, "\(name)")
    }
  }
}
