// Who is meant by a pattern.
import Testing

@testable import Broker

@Suite("Wildcards")
struct WildcardTests {
  @Test(
    "a pattern means whole names, with * for any run and ? for one character",
    arguments: [
      ("fred", "fred", true), ("fred", "Fred", false), ("fred", "freda", false),
      ("fred", "alfred", false), ("", "", true), ("", "a", false), ("*", "", true),
      ("*", "anybody at all", true), ("?", "", false), ("?", "a", true), ("?", "é", true),
      ("?", "ab", false), ("*@EXAMPLE.COM", "fred@EXAMPLE.COM", true),
      ("*@EXAMPLE.COM", "@EXAMPLE.COM", true), ("*@EXAMPLE.COM", "fred@EXAMPLE.COM.evil", false),
      ("*@EXAMPLE.COM", "fred@EXAMPLE.COM@EXAMPLE.COM", true), ("f*d", "fd", true),
      ("f*d", "fred and alfred", true), ("f*d", "freddy", false), ("a*b*c", "a-b-b-c", true),
      ("a*b*c", "a-c-b", false), ("[a]", "a", false), ("[a]", "[a]", true), ("\\*", "\\x", true),
      ("a**b", "ab", true), ("**?", "a", true), ("**?", "", false),
      ("C=GB,O=Acme\\, Inc,CN=*", "C=GB,O=Acme\\, Inc,CN=client1", true),
    ])
  func matching(pattern: String, text: String, expected: Bool) {
    #expect(Wildcard(pattern).matches(text) == expected)
  }

  @Test("no pattern is slow")
  func stars() {
    let pattern = Wildcard(String(repeating: "a*", count: 200) + "b")
    #expect(!pattern.matches(String(repeating: "a", count: 20_000)))
  }
}
