// Packet bodies that only the two ends parse or encode. Bodies that the broker knows too are in Streams.
import Streams

/// Procedures of the REMOTE program that the ends use and a relay only forwards.
enum Call {
  static let getType: Int32 = 3
  static let getVersion: Int32 = 4
  static let domainLookupByID: Int32 = 22
  static let domainLookupByName: Int32 = 23
  static let domainLookupByUUID: Int32 = 24
  static let getHostname: Int32 = 59
  static let poolLookupByName: Int32 = 84
  static let volumeLookupByName: Int32 = 95
  static let volumeLookupByKey: Int32 = 96
  static let volumeLookupByPath: Int32 = 97
  static let volumeGetInfo: Int32 = 98
  static let domainEventsRegister: Int32 = 105
  static let domainEventsDeregister: Int32 = 106
  static let migratePrepareTunnel: Int32 = 148
  static let isSecure: Int32 = 149
  static let domainIsActive: Int32 = 150
  static let domainIsPersistent: Int32 = 151
  static let poolIsActive: Int32 = 154
  static let getLibVersion: Int32 = 157
  static let domainOpenConsole: Int32 = 201
  static let domainGetState: Int32 = 212
  static let migratePrepareTunnel3: Int32 = 215
  static let listAllDomains: Int32 = 273
  static let domainOpenChannel: Int32 = 296
  static let migratePrepareTunnel3Params: Int32 = 304
  static let domainCallbackRegister: Int32 = 316
  static let domainCallbackDeregister: Int32 = 317
  static let domainCallbackLifecycle: Int32 = 318
}

/// One string: the argument of look-ups, and the result of calls for a name.
struct TextBody: XDRBody {
  var text: String
  init(_ text: String) { self.text = text }
  init(from reader: inout XDRReader) throws(Violation) { text = try reader.string() }
  func encode(into writer: inout XDRWriter) { writer.string(text) }
}

/// Words of 32 bits: many small results are such words.
struct WordsBody: XDRBody {
  var words: [UInt32]
  init(_ words: UInt32...) { self.words = words }
  init(from reader: inout XDRReader) throws(Violation) {
    words = []
    while reader.remaining >= 4 { words.append(try reader.uint32()) }
  }
  func encode(into writer: inout XDRWriter) {
    for word in words { writer.uint32(word) }
  }
}

/// A domain in calls and results.
struct DomainBody: XDRBody, Sendable {
  var name: String
  var uuid: (UInt64, UInt64)
  var id: Int32

  init(name: String) {
    self.name = name
    uuid = uuidOf(name)
    id = 1
  }
  init(from reader: inout XDRReader) throws(Violation) {
    name = try reader.string()
    uuid = (try reader.uint64(), try reader.uint64())
    id = try reader.int32()
  }
  func encode(into writer: inout XDRWriter) {
    writer.string(name)
    writer.uint64(uuid.0)
    writer.uint64(uuid.1)
    writer.int32(id)
  }
}

/// A storage pool in calls and results.
struct PoolBody: XDRBody {
  var name: String
  var uuid: (UInt64, UInt64)

  init(name: String) {
    self.name = name
    uuid = uuidOf(name)
  }
  init(from reader: inout XDRReader) throws(Violation) {
    name = try reader.string()
    uuid = (try reader.uint64(), try reader.uint64())
  }
  func encode(into writer: inout XDRWriter) {
    writer.string(name)
    writer.uint64(uuid.0)
    writer.uint64(uuid.1)
  }
}

/// STORAGE_VOL_LOOKUP_BY_NAME: the pool and the volume's name.
struct VolumeLookupArguments: XDRBody {
  var pool: PoolBody
  var name: String
  init(from reader: inout XDRReader) throws(Violation) {
    pool = try PoolBody(from: &reader)
    name = try reader.string()
  }
  func encode(into writer: inout XDRWriter) {
    pool.encode(into: &writer)
    writer.string(name)
  }
}

/// A volume in calls and results.
struct VolumeBody: XDRBody {
  var pool: String
  var name: String
  var key: String
  init(pool: String, name: String) {
    self.pool = pool
    self.name = name
    key = name
  }
  init(from reader: inout XDRReader) throws(Violation) {
    pool = try reader.string()
    name = try reader.string()
    key = try reader.string()
  }
  func encode(into writer: inout XDRWriter) {
    writer.string(pool)
    writer.string(name)
    writer.string(key)
  }
}

/// The result of STORAGE_VOL_GET_INFO.
struct VolumeInfoBody: XDRBody {
  var bytes: UInt64
  init(bytes: UInt64) { self.bytes = bytes }
  init(from reader: inout XDRReader) throws(Violation) {
    _ = try reader.int32()
    bytes = try reader.uint64()
    _ = try reader.uint64()
  }
  func encode(into writer: inout XDRWriter) {
    writer.int32(0)
    writer.uint64(bytes)
    writer.uint64(bytes)
  }
}

/// DOMAIN_OPEN_CONSOLE: the domain and the console's name; nil means the first console.
struct OpenConsoleArguments: XDRBody {
  var domain: DomainBody
  var device: String?
  init(domain: DomainBody) { self.domain = domain }
  init(from reader: inout XDRReader) throws(Violation) {
    domain = try DomainBody(from: &reader)
    device = try reader.optional { reader throws(Violation) in try reader.string() }
    _ = try reader.uint32()
  }
  func encode(into writer: inout XDRWriter) {
    domain.encode(into: &writer)
    writer.optional(device) { $0.string($1) }
    writer.uint32(0)
  }
}

/// DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS without parameters and without a cookie.
struct PrepareTunnelArguments: XDRBody {
  init() {}
  init(from reader: inout XDRReader) throws(Violation) {}
  func encode(into writer: inout XDRWriter) {
    writer.uint32(0)
    writer.uint32(0)
    writer.uint32(0)
  }
}

/// CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY: the kind of event and the domain; nil means every domain.
struct EventRegisterArguments: XDRBody {
  static let lifecycle: Int32 = 0
  var kind: Int32
  var domain: DomainBody?
  init(kind: Int32, domain: DomainBody?) {
    self.kind = kind
    self.domain = domain
  }
  init(from reader: inout XDRReader) throws(Violation) {
    kind = try reader.int32()
    domain = try reader.optional { reader throws(Violation) in try DomainBody(from: &reader) }
  }
  func encode(into writer: inout XDRWriter) {
    writer.int32(kind)
    writer.optional(domain) { $1.encode(into: &$0) }
  }
}

/// The number of a callback: the result of registering it, and the argument of unregistering it.
struct CallbackBody: XDRBody {
  var callback: Int32
  init(callback: Int32) { self.callback = callback }
  init(from reader: inout XDRReader) throws(Violation) { callback = try reader.int32() }
  func encode(into writer: inout XDRWriter) { writer.int32(callback) }
}

/// DOMAIN_EVENT_CALLBACK_LIFECYCLE. Relays pass the kind of the change and its detail unread, so the two words carry the
/// moment at which the event was due, in nanoseconds of the monotonic clock.
struct LifecycleEventBody: XDRBody {
  var callback: Int32
  var domain: DomainBody
  var moment: UInt64
  init(callback: Int32, domain: DomainBody, moment: UInt64) {
    (self.callback, self.domain, self.moment) = (callback, domain, moment)
  }
  init(from reader: inout XDRReader) throws(Violation) {
    callback = try reader.int32()
    domain = try DomainBody(from: &reader)
    moment = try reader.uint64()
  }
  func encode(into writer: inout XDRWriter) {
    writer.int32(callback)
    domain.encode(into: &writer)
    writer.uint64(moment)
  }
}

/// A UUID made from a name, for objects that have only a name.
private func uuidOf(_ name: String) -> (UInt64, UInt64) {
  var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
  return (hash & ~0xf000 | 0x4000, ~hash >> 2 | 1 << 63)
}
