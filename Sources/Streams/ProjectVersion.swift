/// The version of this project. Its programs print the version, and the Debian package has it.
public enum ProjectVersion {
  public static let text = "0.1.0"
}
