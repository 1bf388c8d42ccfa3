// swift-tools-version: 6.1
// virtbench: the harness that measures the broker beside other ways to the same daemon.
import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .unsafeFlags(["-warnings-as-errors"]),
  .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

let package = Package(
  name: "virtbench",
  products: [.executable(name: "virtbench", targets: ["virtbench"])],
  dependencies: [
    .package(name: "virtbroker", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    // The relay no relay in user space can beat by much: C, blocking, knows nothing of the protocol.
    .executableTarget(name: "limit-relay", path: "limit"),
    // The relay's steps without a kernel, for callgrind and memcheck.
    .executableTarget(
      name: "steps", dependencies: [.product(name: "SyntheticRelay", package: "virtbroker")],
      swiftSettings: settings),
    .systemLibrary(name: "CWait"),
    .target(
      name: "Ends",
      dependencies: [
        "CWait", .product(name: "Streams", package: "virtbroker"),
        .product(name: "CGnuTLS", package: "virtbroker"),
      ],
      swiftSettings: settings),
    .target(
      name: "Gauges",
      dependencies: [.product(name: "Histogram", package: "hdrhistogram-swift")],
      swiftSettings: settings),
    .target(name: "Plots", swiftSettings: settings),
    .executableTarget(
      name: "virtbench",
      dependencies: [
        "Ends", "Gauges", "Plots",
        .product(name: "SyntheticRelay", package: "virtbroker"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "EndsTests",
      dependencies: [
        "Ends", "limit-relay", .product(name: "Streams", package: "virtbroker"),
        .product(name: "CGnuTLS", package: "virtbroker"),
      ],
      swiftSettings: settings),
    .testTarget(name: "GaugesTests", dependencies: ["Gauges", "Ends"], swiftSettings: settings),
    .testTarget(name: "PlotsTests", dependencies: ["Plots"], swiftSettings: settings),
    .testTarget(
      name: "VirtbenchTests",
      dependencies: [
        "virtbench", "limit-relay", "Ends", "Gauges",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
