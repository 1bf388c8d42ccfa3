// Which names a list of patterns admits.
import Streams
import Testing

@testable import Broker

@Suite("Lists of names")
struct NameListTests {
  @Test(
    "a pattern matches a whole name; * matches any run of characters and ? matches one",
    arguments: [
      ("fred", "fred", true), ("fred", "Fred", false), ("fred", "freda", false),
      ("fred", "alfred", false), ("", "", true), ("", "a", false), ("*", "", true),
      ("*", "anybody at all", true), ("?", "", false), ("?", "a", true), ("?", "é", true),
      ("?", "ab", false), ("?", "ä", true), ("*@EXAMPLE.COM", "fred@EXAMPLE.COM", true),
      ("*@EXAMPLE.COM", "@EXAMPLE.COM", true), ("*@EXAMPLE.COM", "fred@EXAMPLE.COM.evil", false),
      ("*@EXAMPLE.COM", "fred@EXAMPLE.COM@EXAMPLE.COM", true), ("f*d", "fd", true),
      ("f*d", "fred and alfred", true), ("f*d", "freddy", false), ("a*b*c", "a-b-b-c", true),
      ("a*b*c", "a-c-b", false), ("a?c", "abc", true), ("a?c", "ac", false), ("a*c", "ac", true),
      ("a*c", "abbbc", true), ("a*c", "abcd", false), ("a**b", "ab", true), ("**?", "a", true),
      ("**?", "", false), ("**a**", "a", true), ("*a*b*c*", "xxaxxbxxcxx", true),
      ("*a*b*c*", "xxaxxcxxbxx", false), ("a*?", "a", false), ("a*?", "ab", true),
      ("[a]", "a", false), ("[a]", "[a]", true), ("[a-z]", "b", false), ("[a-z]", "[a-z]", true),
      ("\\*", "\\x", true), ("a\\*", "a*", false), ("a\\*", "a\\b", true),
      ("*.example.com", "a.b.example.com", true), ("CN=a", "CN=a", true),
      ("CN=a", "CN=ab", false), ("CN=a", "XCN=a", false), ("CN=a", "cn=a", false),
      ("*CN=b*", "O=x,CN=bob,C=y", true), ("*CN=b*", "O=x,CN=ann", false),
      ("C=GB,O=Acme\\, Inc,CN=*", "C=GB,O=Acme\\, Inc,CN=client1", true),
      (
        "C=GB,ST=London,L=London,O=Acme\\, Inc,CN=*",
        "C=GB,ST=London,L=London,O=Acme\\, Inc,CN=c1", true
      ),
    ])
  func fits(pattern: String, name: String, expected: Bool) {
    #expect(NameList([pattern]).admits(name) == expected)
  }

  @Test("a list admits a name that any of its patterns matches; an empty list admits none")
  func list() {
    #expect(NameList(["CN=a", "CN=b*"]).admits("CN=bob"))
    #expect(!NameList(["CN=a", "CN=b*"]).admits("CN=c"))
    #expect(!NameList([]).admits("CN=a"))
    #expect(!NameList([]).admits(""))
    #expect(CertificateChecks.name("CN=a", in: nil) == [])
    #expect(
      CertificateChecks.name("CN=a", in: NameList([])) == [Message(.noNameAllowed)])
    #expect(
      CertificateChecks.name("CN=a", in: NameList(["CN=b"])) == [Message(.nameNotAllowed)])
  }

  @Test("a certificate without a distinguished name is refused, whatever the list")
  func emptyName() {
    let certificate = Certificate(subject: "", activation: 0, expiration: 2)
    for names in [nil, NameList(["*"])] {
      let check = TLSPeerCheck.of(chain: [certificate], error: nil, names: names, at: 1)
      #expect(check.diagnostics == [Message(.noDistinguishedName)])
    }
  }

  @Test(
    "a pattern with many stars is matched quickly",
    arguments: [
      (String(repeating: "*a", count: 2000) + "b", 5000),
      (String(repeating: "a*", count: 200) + "b", 20_000),
    ])
  func hostile(pattern: String, length: Int) {
    #expect(!NameList([pattern]).admits(String(repeating: "a", count: length)))
  }
}
