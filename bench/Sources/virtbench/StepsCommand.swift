// The relay's own cost per packet: instructions, allocations, nanoseconds.
import ArgumentParser
import Foundation
import SyntheticRelay

struct StepsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "steps",
    abstract: "Counts what the relay does per packet, apart from the kernel.",
    discussion: """
      The relay runs between two ends that need no kernel. Instructions are the slope between two runs of \
      different length under callgrind, so the start of the program does not count, and the same binary \
      gives the same number on every run; allocations are the slope under memcheck. Nanoseconds are the \
      least of several plain runs. Example: virtbench steps --course download --course console
      """)

  @Option(
    help: "What travels: \(Course.allCases.map(\.rawValue).joined(separator: ", ")). (default: all)"
  )
  var course: [String] = []

  @Flag(help: "Prints JSON instead of a table.")
  var json = false

  func validate() throws {
    for name in course where Course(rawValue: name) == nil {
      throw ValidationError("there is no course '\(name)'")
    }
  }

  func run() throws {
    let courses = course.isEmpty ? Course.allCases : course.compactMap(Course.init)
    let figures = try courses.map { course in
      FileHandle.standardError.write(Data("counting \(course.rawValue)\n".utf8))
      return try StepFigure.measure(course)
    }
    guard !json else {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      print(String(decoding: try encoder.encode(figures), as: UTF8.self))
      return
    }
    print(StepFigure.table(figures))
  }
}

/// The relay's cost per packet of a course.
struct StepFigure: Codable {
  var course: String
  var instructions: Double
  var allocations: Double
  var nanoseconds: Double

  static func measure(_ course: Course) throws -> StepFigure {
    let (few, many) = (2_000, 12_000)
    func slope(_ count: (Int) throws -> Double) throws -> Double {
      (try count(many) - count(few)) / Double(many - few)
    }
    let instructions = try slope {
      try number(
        in: valgrind("callgrind", ["--callgrind-out-file=/dev/null"], course, $0),
        after: "Collected : ")
    }
    let allocations = try slope {
      try number(
        in: valgrind("memcheck", ["--undef-value-errors=no"], course, $0),
        after: "total heap usage: ")
    }
    let nanoseconds = try (0..<5).map { _ in
      try number(in: said(program, [course.rawValue, "200000"]).output, after: "")
    }
    return StepFigure(
      course: course.rawValue, instructions: instructions, allocations: allocations,
      nanoseconds: nanoseconds.min() ?? 0)
  }

  static func table(_ figures: [StepFigure]) -> String {
    var lines = [
      "| course | instructions per packet | allocations per packet | ns per packet |",
      "|--|--:|--:|--:|",
    ]
    for figure in figures {
      lines.append(
        "| \(figure.course) | \(String(format: "%.1f", figure.instructions)) | "
          + "\(String(format: "%.4f", figure.allocations)) | "
          + "\(String(format: "%.0f", figure.nanoseconds)) |")
    }
    return lines.joined(separator: "\n")
  }

  /// The program `steps`, which is in the directory of this one.
  private static var program: String {
    URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("steps").path
  }

  private static func valgrind(
    _ tool: String, _ options: [String], _ course: Course, _ packets: Int
  ) throws -> String {
    try said(
      "/usr/bin/valgrind",
      ["--tool=\(tool)"] + options + [program, course.rawValue, String(packets)]
    ).complaints
  }

  /// Runs a program to its end and returns its output.
  private static func said(
    _ program: String, _ arguments: [String]
  ) throws -> (output: String, complaints: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    let (output, complaints) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardError = complaints
    try process.run()
    func text(_ pipe: Pipe) -> String {
      String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    }
    // In this order, because the output is one line and the error output may be long.
    let words = text(complaints)
    let said = (text(output), words)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw ValidationError("\(program) \(arguments.joined(separator: " ")) failed: \(said.1)")
    }
    return said
  }

  private static func number(in text: String, after words: String) throws -> Double {
    let start = words.isEmpty ? text.startIndex : text.range(of: words)?.upperBound
    guard let start,
      let value = Double(
        text[start...].prefix { $0.isNumber || $0 == "," || $0 == "." }.filter { $0 != "," })
    else { throw ValidationError("no figure behind '\(words)' in: \(text)") }
    return value
  }
}
