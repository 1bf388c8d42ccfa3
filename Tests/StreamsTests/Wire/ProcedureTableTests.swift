// The procedure table has exactly the content of the TSV files.
import Foundation
import Streams
import Testing

@Suite("procedure table")
struct ProcedureTableTests {
  private static let root = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  private static let programs: [(file: String, number: UInt32)] = [
    ("remote", Program.remote), ("qemu", Program.qemu), ("lxc", Program.lxc),
    ("admin", Program.admin),
  ]

  /// The rows of a program's file, with values by column name.
  private static func rows(_ program: String) throws -> [[Substring: Substring]] {
    let url = root.appending(path: "scripts/procedures/\(program).tsv")
    let lines = try String(contentsOf: url, encoding: .utf8).split(separator: "\n")
      .map { $0.split(separator: "\t", omittingEmptySubsequences: false) }
    let names = try #require(lines.first)
    return try lines.dropFirst().map { cells in
      try #require(cells.count == names.count, "\(program): \(cells)")
      return Dictionary(uniqueKeysWithValues: zip(names, cells))
    }
  }

  @Test("each row of each file is in the table, and the table has no others")
  func rows() throws {
    let streams: [Substring: StreamDirection] = [
      "none": .none, "read": .download, "write": .upload, "both": .both,
    ]
    let descriptors: [Substring: Descriptors] = [
      "none": [], "call_in:1": .call, "call_in:n": .call, "reply_out:1": .reply,
      "reply_out:n": .reply, "call_in:n+reply_out:n": [.call, .reply],
    ]
    let drivers: [Substring: Driver] = [
      "hypervisor": .hypervisor, "storage": .storage, "network": .network,
      "nodedev": .nodeDevice, "interface": .interface, "secret": .secret,
      "nwfilter": .nwfilter, "proxy": .proxy,
    ]
    for (file, program) in Self.programs {
      var numbers: Set<Int32> = []
      for row in try Self.rows(file) {
        let number = try #require(row["number"].flatMap { Int32($0) }, "\(row)")
        numbers.insert(number)
        let found = try #require(
          ProcedureTable.find(program: program, procedure: number), "\(row)")
        #expect("\(found.name)" == row["name"].map(String.init), "\(row)")
        #expect(found.isEvent == (row["kind"] == "event"), "\(row)")
        #expect(found.driver == row["driver"].flatMap { drivers[$0] }, "\(row)")
        #expect(found.stream == row["stream"].flatMap { streams[$0] }, "\(row)")
        #expect(found.descriptors == row["has_fds"].flatMap { descriptors[$0] }, "\(row)")
      }
      for number: Int32 in -2...1000 where !numbers.contains(number) {
        #expect(ProcedureTable.find(program: program, procedure: number) == nil)
      }
    }
  }

  @Test("the files contain all procedures of each program")
  func complete() throws {
    #expect(try Self.programs.map { try Self.rows($0.file).count } == [453, 7, 1, 20])
  }

  @Test("a number that is negative, beyond the table, or of another program finds nothing")
  func unknown() {
    for procedure in [Int32.min, -1, 0, 454, 65536 + 1, .max] {
      #expect(ProcedureTable.find(program: Program.remote, procedure: procedure) == nil)
    }
    for program in [0, Program.keepAlive, Program.remote + 2, .max] {
      #expect(ProcedureTable.find(program: program, procedure: 1) == nil)
    }
  }

  @Test("each procedure constant has the number of the procedure with that name")
  func names() {
    let names: [Int32: String] = [
      Remote.connectOpen: "CONNECT_OPEN",
      Remote.connectClose: "CONNECT_CLOSE",
      Remote.connectSupportsFeature: "CONNECT_SUPPORTS_FEATURE",
      Remote.authList: "AUTH_LIST",
      Remote.authSASLInit: "AUTH_SASL_INIT",
      Remote.authSASLStart: "AUTH_SASL_START",
      Remote.authSASLStep: "AUTH_SASL_STEP",
      Remote.authPolkit: "AUTH_POLKIT",
      Remote.connectGetURI: "CONNECT_GET_URI",
      Remote.storageVolUpload: "STORAGE_VOL_UPLOAD",
      Remote.storageVolDownload: "STORAGE_VOL_DOWNLOAD",
      Remote.connectRegisterCloseCallback: "CONNECT_REGISTER_CLOSE_CALLBACK",
      Remote.connectUnregisterCloseCallback: "CONNECT_UNREGISTER_CLOSE_CALLBACK",
      Remote.connectEventConnectionClosed: "CONNECT_EVENT_CONNECTION_CLOSED",
      Remote.connectSetIdentity: "CONNECT_SET_IDENTITY",
    ]
    for (number, name) in names {
      let found = ProcedureTable.find(program: Program.remote, procedure: number)
      #expect(found.map { "\($0.name)" } == name)
    }
  }

  @Test("known procedures of libvirt have their streams, descriptors and drivers in the table")
  func known() {
    func find(_ procedure: Int32) -> Procedure? {
      ProcedureTable.find(program: Program.remote, procedure: procedure)
    }
    let openers = (1...453).filter { find($0).map { $0.stream != .none } ?? false }
    #expect(openers == [148, 201, 208, 209, 211, 215, 296, 304])
    let carriers = (1...453).filter { find($0).map { !$0.descriptors.isEmpty } ?? false }
    #expect(carriers == [249, 309, 310, 343, 443])
    #expect(find(209)?.stream == .download)
    #expect(find(208)?.stream == .upload)
    #expect(find(201)?.stream == .both)
    #expect(find(118)?.driver == .hypervisor)
    #expect(find(114)?.driver == .nodeDevice)
    #expect(find(318)?.isEvent == true)
    #expect(find(317)?.isEvent == false)
  }

  /// Runs `scripts/generate-procedures --check` in a copy of the project or in the project itself.
  private func check(in root: URL) throws -> (status: Int32, said: String) {
    let process = Process()
    process.executableURL = root.appending(path: "scripts/generate-procedures")
    process.arguments = ["--check"]
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let said = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: said, as: UTF8.self))
  }

  @Test("the Swift source equals the generator's output")
  func generated() throws {
    let (status, said) = try check(in: Self.root)
    #expect(status == 0, "run scripts/generate-procedures:\n\(said)")
  }

  @Test(
    "the check fails for a changed file and for one with unknown content",
    arguments: [
      ("\tstorage\t", "\tnetwork\t", "-    Procedure("),
      ("\tstorage\t", "\tstorages\t", "remote.tsv:72: unknown driver storages"),
      ("\n209\t", "\n210\t", "remote.tsv:210: procedure 210 where 209 was due"),
      ("call_in:1", "call_in:2", "remote.tsv:250: unknown descriptors call_in:2"),
    ])
  func noticed(old: String, new: String, said expected: String) throws {
    let files = FileManager.default
    let copy = files.temporaryDirectory.appending(path: "virtbroker-\(UUID().uuidString)")
    defer { try? files.removeItem(at: copy) }
    let wire = copy.appending(path: "Sources/Streams/Wire")
    try files.createDirectory(at: wire, withIntermediateDirectories: true)
    try files.copyItem(
      at: Self.root.appending(path: "scripts"), to: copy.appending(path: "scripts"))
    try files.copyItem(
      at: Self.root.appending(path: "Sources/Streams/Wire/ProcedureTable.swift"),
      to: wire.appending(path: "ProcedureTable.swift"))
    #expect(try check(in: copy).status == 0)

    let table = copy.appending(path: "scripts/procedures/remote.tsv")
    var text = try String(contentsOf: table, encoding: .utf8)
    let range = try #require(text.range(of: old))
    text.replaceSubrange(range, with: new)
    try text.write(to: table, atomically: true, encoding: .utf8)
    let (status, said) = try check(in: copy)
    #expect(status == 1)
    #expect(said.contains(expected), "\(said)")
  }
}
