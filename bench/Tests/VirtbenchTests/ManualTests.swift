// virtbench(1) has every command and every option.
import ArgumentParser
import Foundation
import Testing

@testable import virtbench

@Suite("The manual page")
struct ManualTests {
  @Test("every command and every option of its --help is in the page")
  func complete() throws {
    let file = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../man/virtbench.1")
    // In the page's source an option --json is Fl -json or follows a comma.
    let words = Set(
      try String(contentsOf: file.standardized, encoding: .utf8)
        .split { !($0.isLetter || $0.isNumber || $0 == "-") }.map(String.init))
    let commands = Virtbench.configuration.subcommands
    #expect(commands.count >= 8)
    for command in commands {
      let name = try #require(command.configuration.commandName)
      #expect(words.contains(name), "the command \(name) is not in the page")
      let help = Virtbench.helpMessage(for: command, columns: 200)
      let usage = help.split(separator: "\n").filter {
        $0.hasPrefix("  --") || $0.hasPrefix("  -h")
      }.joined(separator: "\n")
      let options = usage.matches(of: /--[a-z][a-z-]*[a-z]/).map { String($0.output.dropFirst()) }
      #expect(!options.isEmpty)
      for option in options where option != "-version" {
        #expect(words.contains(option), "-\(option) of \(name) is not in the page")
      }
    }
  }
}
