// The pid file: written, locked, removed.
import Foundation
import Streams
import Testing

@testable import virtbrokerd

@Suite("pid file")
struct PidFileTests {
  @Test(
    "it holds the process ID without a newline, is readable by all, and is removed with its owner")
  func contents() throws {
    let scratch = try Scratch()
    // A file left by a daemon that died, longer than any number.
    try scratch.write("pid", "123456789012345678901234567890\n")
    do {
      let pidFile = try PidFile("\(scratch.path)/pid")
      #expect(scratch.read("pid") == "\(getpid())")
      pidFile.remove()
      #expect(!scratch.exists("pid"))
      // The file belongs to another process now: a second removal leaves it alone.
      try scratch.write("pid", "1")
      pidFile.remove()
      #expect(scratch.exists("pid"))
    }
    #expect(scratch.exists("pid"))
    do {
      _ = try PidFile("\(scratch.path)/pid2")
    }
    #expect(!scratch.exists("pid2"))
  }

  @Test("if the file cannot be created, the start ends with the reason")
  func unmakable() throws {
    let scratch = try Scratch()
    let path = "\(scratch.path)/no/pid"
    #expect(
      throws: StartFailure(
        .configuration, .cannotTakePidFile, [path, "No such file or directory"])
    ) { _ = try PidFile(path) }
  }

  @Test(
    "while another process holds the file, the program exits 1, names the holder and keeps the file"
  )
  func held() throws {
    let scratch = try Scratch()
    let configuration = try scratch.configuration()
    let pidFile = try PidFile("\(scratch.path)/pid")
    // Another process reads the file: closing it here would release the lock.
    func contents() throws -> String {
      try Program([pidFile.path], program: "/bin/cat").result().out
    }
    let line = Message(.cannotTakePidFile, [pidFile.path, Message(.pidFileLocked, [getpid()])]).line
    #expect(line.hasPrefix("VB-START-005 VB-START-006: "))

    let result = try Program.run(["-f", configuration, "-p", pidFile.path])
    #expect(result.status == 1)
    #expect(scratch.read("log").hasSuffix(": error : \(line)\n"))
    #expect(try contents() == "\(getpid())")

    let background = try Program.run(["-d", "-f", configuration, "-p", pidFile.path])
    #expect(background.status == 1)
    #expect(
      background.err
        == "\(Program.path): \(Message(.backgroundStartFailed, ["configuration", line]).line)\n")
    #expect(try contents() == "\(getpid())")
    pidFile.remove()
  }
}
