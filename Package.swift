// swift-tools-version: 6.1
// virtbroker: the event-loop stream broker in front of libvirt's daemons.
import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .unsafeFlags(["-warnings-as-errors"]),
  // Debug and test builds keep the run-time exclusivity checks; release builds have passed them.
  .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

let package = Package(
  name: "virtbroker",
  products: [
    .executable(name: "virtbrokerd", targets: ["virtbrokerd"]),
    .executable(name: "virtbroker", targets: ["virtbroker"]),
    .library(name: "Streams", targets: ["Streams"]),
    .library(name: "CGnuTLS", targets: ["CGnuTLS"]),
    .library(name: "SyntheticRelay", targets: ["SyntheticRelay"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    .systemLibrary(name: "CLibev"),
    .systemLibrary(name: "CGetopt"),
    .systemLibrary(name: "CGnuTLS"),
    .systemLibrary(name: "CLinux"),
    .systemLibrary(name: "CMalloc"),
    .systemLibrary(name: "CMicrohttpd"),
    .systemLibrary(name: "CSASL"),
    .systemLibrary(name: "CSystemD"),
    .target(name: "Streams", swiftSettings: settings),
    .target(
      name: "Broker",
      dependencies: [
        "Streams", "CLibev", "CLinux", "CGnuTLS", "CMalloc", "CMicrohttpd", "CSASL", "CSystemD",
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "virtbrokerd",
      dependencies: ["Broker", "Streams", "CGetopt", "CLinux"], path: "Sources/Daemon",
      exclude: ["Tool"],
      swiftSettings: settings),
    // What an administrator looks at a running broker with.
    .executableTarget(
      name: "virtbroker",
      dependencies: [
        "Streams", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Sources/Daemon/Tool", swiftSettings: settings),
    // The relay without sockets, to count what a packet costs; the bench runs it as well.
    .target(
      name: "SyntheticRelay", dependencies: ["Streams"], path: "Tests/SyntheticRelay",
      swiftSettings: settings),
    .target(name: "AllocationCount", path: "Tests/AllocationCount"),
    .executableTarget(
      name: "allocations", dependencies: ["SyntheticRelay", "AllocationCount"],
      path: "Tests/Allocations", swiftSettings: settings),
    // Certificates for the tests of two rooms.
    .target(
      name: "Certificates", dependencies: ["CGnuTLS"], path: "Tests/Certificates",
      swiftSettings: settings),
    // Whole brokers in virtual time. It looks inside Streams, as tests do, so it is for debug builds.
    .target(
      name: "Simulator", dependencies: ["Streams"], path: "Tests/Simulation/Simulator",
      // Ten thousand brokers are to take a minute. What Streams checks at run time is checked all the same.
      swiftSettings: settings
        + [.unsafeFlags(["-O", "-assert-config", "Debug"], .when(configuration: .debug))]),
    .executableTarget(
      name: "simulate", dependencies: ["Simulator"], path: "Tests/Simulation/Simulate",
      swiftSettings: settings),
    .testTarget(
      name: "SimulationTests", dependencies: ["Simulator", "Streams", "simulate"],
      path: "Tests/Simulation", exclude: ["Simulator", "Simulate"], swiftSettings: settings),
    .testTarget(
      name: "StreamsTests", dependencies: ["Simulator", "Streams", "SyntheticRelay"],
      resources: [.copy("Golden")], swiftSettings: settings),
    .testTarget(
      name: "BrokerTests",
      dependencies: ["Broker", "Streams", "CGnuTLS", "CSASL", "CSystemD", "Certificates"],
      swiftSettings: settings),
    .testTarget(
      name: "DaemonTests", dependencies: ["virtbrokerd", "Streams"], swiftSettings: settings),
    .testTarget(
      name: "IntegrationTests",
      dependencies: ["Streams", "virtbrokerd", "virtbroker", "CGnuTLS", "Certificates"],
      path: "Tests/Integration", exclude: ["lab", "package", "prometheus", "python"],
      // A hundred clients at work must not be slower than the broker.
      swiftSettings: settings + [.unsafeFlags(["-O"], .when(configuration: .debug))]),
  ],
  swiftLanguageModes: [.v6]
)

// scripts/sanitize builds everything once more for each sanitizer, but for the tests that gain nothing by it, because
// they run other programs, and what only these need.
if Context.environment["VIRTBROKER_WITHOUT_INTEGRATION"] != nil {
  package.targets.removeAll { ["IntegrationTests", "virtbroker"].contains($0.name) }
  package.products.removeAll { $0.name == "virtbroker" }
}
