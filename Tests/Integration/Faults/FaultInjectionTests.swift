// A hundred clients with mixed operations while everything around the broker fails, by a seed.
//
//   VIRTBROKER_FAULT_SECONDS   the duration of each test; without it these tests do not run
//   VIRTBROKER_FAULT_SEED      the seed of the faults; printed in any case
//   VIRTBROKER_SANITIZED       the broker was built with a sanitizer: a quarter of the clients, for it is that much
//                              slower, and no check of its memory, because the sanitizer keeps what is freed
import Foundation
import Streams
import Synchronization
import Testing

let faultSeconds = ProcessInfo.processInfo.environment["VIRTBROKER_FAULT_SECONDS"]
  .flatMap(Double.init)
let faultSeed =
  ProcessInfo.processInfo.environment["VIRTBROKER_FAULT_SEED"].flatMap { UInt64($0) }
  ?? UInt64(Date().timeIntervalSince1970)

@Suite("Fault injection", .serialized, .enabled(if: faultSeconds != nil))
struct FaultInjectionTests {
  static let isSanitized = ProcessInfo.processInfo.environment["VIRTBROKER_SANITIZED"] != nil
  static let clients = isSanitized ? 25 : 100
  /// The limit of data queued for one client, in bytes.
  static let buffer = 128 << 10
  static let settings = [
    "max_client_buffer = \(buffer)", "keepalive_interval = 2", "keepalive_count = 3",
    "max_clients = 1000", "log_level = 3",
  ]

  @Test(
    "with a synthetic daemon: nothing hangs, nothing leaks, and no failed operation is confirmed")
  func synthetic() async throws {
    let directory = try Scratch.directory("f")
    let daemon = try SyntheticDaemon(at: directory + "/daemon")
    let scene = try await FaultScene(backend: directory + "/daemon", seed: faultSeed)
    let site = SyntheticSite(scene: scene)
    let account = try await scene.run(at: site, seed: faultSeed, seconds: faultSeconds ?? 0) {
      dice, _ in
      usleep(UInt32(dice.pick(2000...8000)) * 1000)
      daemon.die()
      usleep(UInt32(dice.pick(50...1000)) * 1000)
      daemon.live()
    }
    for (name, sum) in account.good {
      #expect(daemon.confirmed[name] == sum, "\(name) was confirmed to its client")
    }
    #expect(!account.good.isEmpty)
    #expect(eventually { daemon.openCount == 0 }, "\(daemon.openCount) connections are left")
    try await scene.end()
    withExtendedLifetime(daemon) {}
  }

  @Test(
    "with a real libvirtd: nothing hangs, nothing leaks, and no failed operation is confirmed",
    Lab.isPossible)
  func real() async throws {
    let lab = try await Lab.shared(.mono, for: "fault injection")
    let site = try await RealSite(in: lab, seed: faultSeed)
    let scene = site.scene
    let account = try await scene.run(at: site, seed: ~faultSeed, seconds: faultSeconds ?? 0) {
      dice, round in
      // The daemon is killed about every half minute; its connections break more often.
      usleep(UInt32(dice.pick(8000...15_000)) * 1000)
      if round % 3 == 2 {
        do { try site.restart() } catch { Issue.record("libvirtd did not come back: \(error)") }
      } else {
        scene.backendWire.cutAll()
      }
    }
    #expect(!account.good.isEmpty)
    let areGone = try eventually { try site.backendConnections() == 0 }
    #expect(areGone, "connections to libvirtd are left")
    let isClean = try eventually { try site.incomingGuests().isEmpty }
    #expect(isClean, "halves of guests are left")
    #expect((account.ends[FaultClient.begun]?.done ?? 0) > 0, "no migration was begun")
    try await scene.end()
  }
}
