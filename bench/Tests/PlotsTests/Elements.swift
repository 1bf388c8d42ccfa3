// The elements of an XML document, for tests of plots.
import Foundation
import FoundationXML

/// The elements of a document, in their order.
final class Elements: NSObject, XMLParserDelegate {
  struct Element {
    let name: String
    let attributes: [String: String]
    var text = ""
    func number(_ key: String) -> Double { attributes[key].flatMap(Double.init) ?? .nan }
  }
  private(set) var all: [Element] = []
  private var open: [Int] = []

  /// nil if the document is not well-formed.
  init?(_ svg: String) {
    super.init()
    let parser = XMLParser(data: Data(svg.utf8))
    parser.delegate = self
    guard parser.parse() else { return nil }
  }

  func of(_ style: String) -> [Element] { all.filter { $0.attributes["class"] == style } }

  func parser(
    _: XMLParser, didStartElement name: String, namespaceURI _: String?, qualifiedName _: String?,
    attributes: [String: String]
  ) {
    open.append(all.count)
    all.append(Element(name: name, attributes: attributes))
  }

  func parser(
    _: XMLParser, didEndElement _: String, namespaceURI _: String?, qualifiedName _: String?
  ) {
    open.removeLast()
  }

  func parser(_: XMLParser, foundCharacters text: String) {
    if let last = open.last { all[last].text += text }
  }
}
