// A storage volume of a lab, for tests that need one to read from or write to.
import Foundation

/// A raw volume in a directory pool of its own. It costs nothing while it is full of holes.
struct TestVolume: Sendable {
  let pool: String
  let name = "volume"
  /// Where the host sees its file.
  let path: String

  /// Makes the pool and a volume of `bytes` bytes without any data.
  init(in lab: Lab, bytes: Int = 1 << 20) async throws {
    let directory = try Scratch.directory("v")
    pool = "faults-" + URL(fileURLWithPath: directory).lastPathComponent
    path = directory + "/" + name
    guard FileManager.default.createFile(atPath: path, contents: nil), truncate(path, bytes) == 0
    else { throw Trouble("cannot make \(path): \(errnoText())") }
    let uri = lab.directURI("storage")
    try await virshOutput(uri, "pool-create-as", pool, "dir", "--target", directory)
  }
}
