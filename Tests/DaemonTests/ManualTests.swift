// The manual pages and the completion describe all options and keys of the program, and no others.
import Foundation
import Testing

@testable import virtbrokerd

@Suite("manual pages")
struct ManualTests {
  @Test("virtbrokerd.conf(5) has every key, once, and no other")
  func keys() throws {
    let page = try projectFile("man/virtbrokerd.conf.5")
    let keys = page.split(separator: "\n").filter { $0.hasPrefix(".It Ic ") }
      .flatMap { line in
        // The default follows `Pq`.
        line.dropFirst(".It Ic ".count).split(separator: " ").prefix { $0 != "Pq" }
          .filter { $0 != "," }.map(String.init)
      }
    #expect(Set(keys).count == keys.count, "a key is there twice")
    let missing = Set(ConfigurationKey.all.keys).subtracting(keys)
    #expect(missing.isEmpty, "keys without a word in the page: \(missing.sorted())")
    let unknown = Set(keys).subtracting(ConfigurationKey.all.keys)
    #expect(unknown.isEmpty, "the program does not know \(unknown.sorted())")
  }

  /// The long options of `--help`.
  private let options: Set<String> = {
    let places = Places(isRoot: true, environment: [:], home: "/root")
    return longOptions(Options.usage(program: "virtbrokerd", places: places))
  }()

  @Test("virtbrokerd(8) has every option that --help has, and no other")
  func manualOptions() throws {
    let page = try projectFile("man/virtbrokerd.8")
    let items = page.split(separator: "\n").filter { $0.hasPrefix(".It Fl ") }
    let found = items.flatMap { line in
      line.split(separator: " ").filter { $0.hasPrefix("-") }.map { "-" + $0 }
    }
    #expect(Set(found) == options)
    #expect(options.contains("--check-tls"), "the options were not found at all")
  }

  @Test("bash completes every option that --help has, and no other")
  func completion() throws {
    let script = try projectFile("etc/completion/virtbrokerd.bash")
    #expect(longOptions(script) == options)
  }

  @Test("virtbroker-pki's page and completion have every option of its --help")
  func pki() throws {
    let script = try projectFile("scripts/virtbroker-pki")
    let help = script.split(separator: "\n").prefix { $0 != "TEXT" }.joined(separator: "\n")
    let options = longOptions(help)
    #expect(options.contains("--renew"))
    let page = try projectFile("man/virtbroker-pki.1")
    for option in options.subtracting(["--help"]) {
      #expect(page.contains(".It Fl \(option.dropFirst())"), "\(option) is not in the page")
    }
    #expect(longOptions(try projectFile("etc/completion/virtbroker-pki.bash")) == options)
  }

  /// The developers' documents, docs/architecture.md and docs/design, may link to the rest of the source tree.
  @Test("every link in the users' documents leads to an installed document and a heading in it")
  func links() throws {
    let files = try FileManager.default.subpathsOfDirectory(atPath: projectPath("docs"))
    let names = files.filter { $0.hasSuffix(".md") || $0 == "dashboard.svg" }
    let documents = names.filter { $0.hasSuffix(".md") }
    var count = 0
    for document in documents where document != "architecture.md" && !document.contains("/") {
      let text = try projectFile("docs/\(document)")
      for link in text.matches(of: /\]\(([^)#:]*)(#[^)]*)?\)/) {
        count += 1
        let target = link.1.isEmpty ? document : String(link.1)
        #expect(names.contains(target), "\(document) links to \(target)")
        guard let anchor = link.2, documents.contains(target) else { continue }
        let headings = try projectFile("docs/\(target)").split(separator: "\n")
          .filter { $0.hasPrefix("#") }
          .map {
            $0.drop { $0 == "#" }.dropFirst().lowercased()
              .filter { $0.isLetter || $0.isNumber || " -".contains($0) }
              .replacingOccurrences(of: " ", with: "-")
          }
        #expect(headings.contains(String(anchor.dropFirst())), "\(document): \(target)\(anchor)")
      }
    }
    #expect(count > 10)
  }

  @Test("mandoc reports no problem in the pages")
  func lint() throws {
    let pages = try FileManager.default.contentsOfDirectory(atPath: projectPath("man")).sorted()
    #expect(pages.count >= 4)
    let found = try Program(
      ["-Tlint", "-Wwarning"] + pages.map { projectPath("man/\($0)") }, program: "/usr/bin/mandoc"
    ).result()
    #expect(found.status == 0 && (found.out + found.err).isEmpty, "\(found)")
  }
}

/// Every `--word` in a text.
private func longOptions(_ text: String) -> Set<String> {
  Set(text.matches(of: /--[a-z][a-z-]*[a-z]/).map { String($0.output) })
}
