// Volumes through the broker: every byte arrives, in both directions, for any size.
import Foundation
import Testing

@Suite("Volumes", Lab.isPossible, .inTurn)
struct VolumeTests {
  /// Zero, one, around the size of libvirt's usual packet, and larger than all buffers.
  static let sizes = [0, 1, 262_119, 262_120, 262_121, 256 << 20]

  @Test(
    "an uploaded volume has the right content and is downloaded unchanged", arguments: Place.all)
  func thereAndBack(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    let uri = broker.uri(place.way)
    let pool = "sizes-\(place.way)"
    let volumes = try await lab.pool(pool)
    let back = try Scratch.directory("volumes") + "/back"
    for size in Self.sizes {
      let file = try await Self.noise.file(of: size)
      let sum = try await checksum(file)
      try await virshOutput(uri, "vol-create-as", pool, "v", "\(size)b")
      try await virshOutput(uri, "vol-upload", "v", file, "--pool", pool)
      #expect(try await checksum(volumes + "/v") == sum, "uploaded \(size) bytes")
      try await virshOutput(uri, "vol-download", "v", back, "--pool", pool)
      #expect(try await checksum(back) == sum, "downloaded \(size) bytes")
      try await virshOutput(uri, "vol-delete", "v", "--pool", pool)
    }
  }

  @Test("a part of a volume is read and written at the requested position", arguments: Place.all)
  func part(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    let uri = broker.uri(place.way)
    let pool = "part-\(place.way)"
    let volumes = try await lab.pool(pool)
    let scratch = try Scratch.directory("volumes")
    try "0123456789".write(toFile: volumes + "/v", atomically: false, encoding: .utf8)
    try "abc".write(toFile: scratch + "/abc", atomically: false, encoding: .utf8)
    try await virshOutput(uri, "pool-refresh", pool)
    try await virshOutput(
      uri, "vol-upload", "v", scratch + "/abc", "--pool", pool, "--offset", "2", "--length", "3")
    try await virshOutput(
      uri, "vol-download", "v", scratch + "/part", "--pool", pool, "--offset", "1", "--length", "6")
    #expect(try String(contentsOfFile: scratch + "/part", encoding: .utf8) == "1abc56")
  }

  @Test("a sparse volume keeps its holes in both directions", arguments: Place.all)
  func sparse(_ place: Place) async throws {
    let (lab, broker) = try await place.ready()
    let uri = broker.uri(place.way)
    let pool = "sparse-\(place.way)"
    let volumes = try await lab.pool(pool)
    let scratch = try Scratch.directory("volumes")
    let (file, back) = (scratch + "/file", scratch + "/back")
    // Holes at the start, between the data and at the end; three of them are longer than 32 bits can count.
    let megabyte = try await Self.noise.file(of: 1 << 20)
    for (seek, count) in [(3, 1), (5000, 2), (10003, 1)] {
      for index in 0..<count {
        try await Command(
          "dd", "status=none", "conv=notrunc", "bs=1M", "seek=\(seek + index)", "if=\(megabyte)",
          "of=\(file)"
        ).output()
      }
    }
    try await Command("truncate", "-s", "\(15 << 30)", file).output()
    try await virshOutput(uri, "vol-create-as", pool, "v", "\(15 << 30)b", "--allocation", "0")
    try await virshOutput(uri, "vol-upload", "v", file, "--pool", pool, "--sparse")
    try await virshOutput(uri, "vol-download", "v", back, "--pool", pool, "--sparse")
    for copy in [volumes + "/v", back] {
      #expect(try await islands(copy) == islands(file))
      let blocks = try await Command("du", "-B1M", copy).output().prefix { $0 != "\t" }
      #expect(try #require(Int(blocks)) < 8, "the holes take no room in \(copy)")
    }
  }

  /// The size, and a checksum of the parts with data, so that 15 GiB of zeros need not be read.
  private func islands(_ file: String) async throws -> [String] {
    var parts = [try await Command("stat", "-c", "%s", file).output()]
    for megabyte in [0, 3, 4, 5000, 5001, 5002, 10003, 10004] {
      let read = "dd status=none bs=1M count=1 skip=\(megabyte) if='\(file)' | sha256sum"
      parts.append(try await Command("sh", "-c", read).output())
    }
    return parts
  }

  private func checksum(_ file: String) async throws -> Substring {
    try await Command("sha256sum", file).output().prefix { $0 != " " }
  }

  private static let noise = Noise()
}

/// Files of random bytes, each created once.
private actor Noise {
  private var files: [Int: Task<String, any Error>] = [:]

  func file(of size: Int) async throws -> String {
    let task =
      files[size]
      ?? Task {
        let path = try Scratch.directory("noise") + "/\(size)"
        try await Command("sh", "-c", "head -c \(size) /dev/urandom > \(path)").output()
        return path
      }
    files[size] = task
    return try await task.value
  }
}
