// The purpose and the object of a stream, read from the call that opens it.

/// The purpose of a stream: the kinds that an administrator distinguishes.
public enum StreamKind: UInt8, CaseIterable, Sendable {
  /// A domain's console, or a channel to its guest.
  case console
  case upload
  case download
  /// A migration tunnelled through the daemons.
  case migration
  /// Screenshots, and streams of newer libvirt versions.
  case other

  /// The kind of the stream that a call of this procedure opens.
  init(opening header: PacketHeader) {
    guard header.program == Program.remote else {
      self = .other
      return
    }
    switch header.procedure {
    case Remote.domainOpenConsole, Remote.domainOpenChannel: self = .console
    case Remote.storageVolUpload: self = .upload
    case Remote.storageVolDownload: self = .download
    case Remote.domainMigratePrepareTunnel, Remote.domainMigratePrepareTunnel3,
      Remote.domainMigratePrepareTunnel3Parameters:
      self = .migration
    default: self = .other
    }
  }

  /// The name in metrics, in audit records, and on the command line.
  public var name: String {
    switch self {
    case .console: "console"
    case .upload: "upload"
    case .download: "download"
    case .migration: "migration"
    case .other: "other"
    }
  }
}

extension Remote {
  public static let domainMigratePrepareTunnel: Int32 = 148
  public static let domainOpenConsole: Int32 = 201
  public static let domainScreenshot: Int32 = 211
  public static let domainMigratePrepareTunnel3: Int32 = 215
  public static let domainOpenChannel: Int32 = 296
  public static let domainMigratePrepareTunnel3Parameters: Int32 = 304
}

/// The object that a stream belongs to. Names are as the client sent them, truncated to `mostBytes`.
public enum StreamObject: Equatable, Sendable, CustomStringConvertible {
  case domain(String)
  case volume(pool: String, name: String)

  /// The most bytes kept of a name.
  static let mostBytes = 256
  /// Bytes of a domain's description that are searched for its name. The name is near the beginning.
  private static let searchedBytes = 64 * 1024

  public var description: String {
    switch self {
    case .domain(let name): name
    case .volume(let pool, let name): "\(pool)/\(name)"
    }
  }

  /// "domain" or "volume".
  public var type: String {
    switch self {
    case .domain: "domain"
    case .volume: "volume"
    }
  }

  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    var pool: String?
    var name = ""
    switch self {
    case .domain(let domain): name = domain
    case .volume(let itsPool, let volume): (pool, name) = (itsPool, volume)
    }
    try coder.code(&pool)
    try coder.code(&name)
    self = pool.map { .volume(pool: $0, name: name) } ?? .domain(name)
  }

  /// Reads the object from the body of the call that opens the stream; nil if the body names none or is invalid.
  init?(opening header: PacketHeader, body: [UInt8]) {
    guard header.program == Program.remote else { return nil }
    let found = body.withUnsafeBytes { bytes in
      var reader = XDRReader(bytes)
      return try? StreamObject.read(header.procedure, &reader)
    }
    guard let found else { return nil }
    self = found
  }

  private static func read(
    _ procedure: Int32, _ reader: inout XDRReader
  ) throws(Violation) -> StreamObject? {
    switch procedure {
    case Remote.domainOpenConsole, Remote.domainOpenChannel, Remote.domainScreenshot:
      return .domain(cut(try reader.string()))
    case Remote.storageVolUpload, Remote.storageVolDownload:
      let pool = cut(try reader.string())
      return .volume(pool: pool, name: cut(try reader.string()))
    case Remote.domainMigratePrepareTunnel, Remote.domainMigratePrepareTunnel3:
      if procedure == Remote.domainMigratePrepareTunnel3 {
        _ = try reader.opaque(limit: Limits.string)
      }
      _ = try reader.uint64()
      if let name = try reader.optional({ reader throws(Violation) in try reader.string() }) {
        return .domain(cut(name))
      }
      _ = try reader.uint64()
      return named(in: try reader.opaque(limit: Limits.string))
    case Remote.domainMigratePrepareTunnel3Parameters: return try readParameters(&reader)
    default: return nil
    }
  }

  /// The name of a migrated domain: its new name if the parameters have one, else the name in its description.
  private static func readParameters(
    _ reader: inout XDRReader
  ) throws(Violation) -> StreamObject? {
    let parameters = try reader.array(limit: Limits.migrationParameters) {
      reader throws(Violation) in try TypedParameter(from: &reader)
    }
    func text(_ field: String) -> String? {
      for parameter in parameters where parameter.field == field {
        if case .string(let text) = parameter.value { return text }
      }
      return nil
    }
    if let name = text("destination_name") { return .domain(cut(name)) }
    guard let xml = text("destination_xml") else { return nil }
    var bytes = xml
    return bytes.withUTF8 { named(in: UnsafeRawBufferPointer($0)) }
  }

  /// The first `<name>` in a domain's description.
  private static func named(in xml: UnsafeRawBufferPointer) -> StreamObject? {
    let tag = Array("<name>".utf8)
    let searched = min(xml.count, searchedBytes)
    guard searched > tag.count else { return nil }
    let place = (0..<searched - tag.count).first { xml[$0..<$0 + tag.count].elementsEqual(tag) }
    guard let place else { return nil }
    let name = xml[(place + tag.count)..<searched].prefix { $0 != UInt8(ascii: "<") }
    return name.isEmpty ? nil : .domain(cut(String(decoding: name, as: UTF8.self)))
  }

  /// Truncates a name between characters.
  private static func cut(_ name: String) -> String {
    guard name.utf8.count > mostBytes else { return name }
    var short = ""
    var bytes = 0
    for character in name.unicodeScalars {
      bytes += UTF8.width(character)
      if bytes > mostBytes { break }
      short.unicodeScalars.append(character)
    }
    return short
  }
}
