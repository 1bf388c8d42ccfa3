// virtbench report: writes a report again, or one from several comparisons.
import ArgumentParser
import Foundation

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Writes the report of JSON files that virtbench compare has written.",
    discussion: """
      Several files become one report, so that a long comparison can be made in pieces: different \
      measurements, or more rounds of the same ones. All must come from the same machine, with the \
      same versions and the same baseline.

      Example:

        virtbench report results.local/*-streams.json results.local/*-virsh.json --name compare
      """)

  @Argument(help: "JSON files of virtbench compare.")
  var files: [String]

  @Option(help: "Directory of the report.")
  var results = "results.local"

  @Option(help: "The report is called DATE-NAME.")
  var name = "compare"

  func validate() throws {
    guard !files.isEmpty else { throw ValidationError("name at least one file") }
    guard PeerArgument.isName(name) else {
      throw ValidationError("--name may have letters, digits, dots, dashes and underscores")
    }
  }

  func run() throws {
    let parts = try files.map { try Report(file: $0) }
    let report = try Report(merging: parts, name: name)
    print(try report.write(to: results))
  }
}
