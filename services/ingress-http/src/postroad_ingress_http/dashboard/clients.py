"""Settings for programs that send mail through a login, ready to be copied.

Pure. `YOUR-PASSWORD` stands where the password goes: it is shown once, when the login is made.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmtpPlace:
    """Where applications hand mail in: `port` has STARTTLS, `tls_port` TLS from the start.

    `ca`: the file of the CA that signed the certificate, where that is no public one; else empty.
    """

    host: str
    port: int
    tls_port: int
    ca: str = ""

    @classmethod
    def of(cls, address: str, hostname: str, ca: str = "") -> "SmtpPlace":
        """Read `HOST:PORT:TLSPORT`; what is left out is `hostname`, 587 and 465."""
        host, _, ports = address.partition(":")
        port, _, tls_port = ports.partition(":")
        return cls(host or hostname, int(port or 587), int(tls_port or 465), ca)


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What one program is configured with: its name, the file that this goes into, and the text."""

    name: str
    file: str
    text: str


def settings_for(place: SmtpPlace, username: str) -> list[ClientSettings]:
    """Return the settings of the programs that are met most.

    What names a CA of one's own is left out where the certificate is of a public one.
    """
    values = {
        "host": place.host,
        "port": place.port,
        "tls_port": place.tls_port,
        "username": username,
        "ca": place.ca,
        "trusted": place.ca or _PUBLIC_CAS,
    }
    return [
        ClientSettings(name, file, _without_ca(text, place.ca).format(**values).strip("\n"))
        for name, file, text in (
            ("curl", "a shell", _CURL),
            ("Postfix", "/etc/postfix/main.cf", _POSTFIX),
            ("Exim", "/etc/exim4/exim4.conf", _EXIM),
            ("msmtp", "~/.msmtprc", _MSMTP),
            ("Thunderbird", "Account Settings, Outgoing Server", _THUNDERBIRD),
            ("Django", "settings.py", _DJANGO),
            ("Laravel", ".env", _LARAVEL),
            ("Rails", "config/environments/production.rb", _RAILS),
            ("nodemailer", "JavaScript", _NODEMAILER),
            ("PHP", "with PHPMailer", _PHP),
        )
    ]


def _without_ca(text: str, ca: str) -> str:
    """Return the text, without the lines that need a CA of one's own where there is none."""
    return (
        text
        if ca
        else "".join(line for line in text.splitlines(keepends=True) if "{ca}" not in line)
    )


_PUBLIC_CAS = "/etc/ssl/certs/ca-certificates.crt"


_CURL = """
curl --ssl-reqd smtp://{host}:{port} --user '{username}:YOUR-PASSWORD' \\
  --cacert '{ca}' \\
  --mail-from you@example.com --mail-rcpt reader@example.com --upload-file mail.eml
"""
_POSTFIX = """
relayhost = [{host}]:{port}
smtp_host_lookup = dns, native
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = static:{username}:YOUR-PASSWORD
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = secure
smtp_tls_CAfile = {trusted}
"""
_EXIM = """
# a router, before the others:
postroad:
  driver = manualroute
  domains = ! +local_domains
  transport = postroad_smtp
  route_list = * {host}::{port} byname
  self = send
# a transport:
postroad_smtp:
  driver = smtp
  hosts_require_auth = *
  hosts_require_tls = *
  tls_verify_hosts = *
  tls_verify_certificates = {ca}
# an authenticator:
postroad_login:
  driver = plaintext
  public_name = PLAIN
  client_send = ^{username}^YOUR-PASSWORD
"""
_MSMTP = """
account postroad
host {host}
port {port}
tls on
tls_starttls on
tls_trust_file "{ca}"
auth on
user {username}
password YOUR-PASSWORD
from you@example.com
account default : postroad
"""
_THUNDERBIRD = """
Server Name: {host}
Port: {tls_port}
Connection security: SSL/TLS
Authentication method: Normal password
User Name: {username}
Settings, Manage Certificates, Authorities, Import: {ca}
  and there: Trust this CA to identify websites
"""
_DJANGO = """
EMAIL_HOST = "{host}"
EMAIL_PORT = {port}
EMAIL_USE_TLS = True
EMAIL_HOST_USER = "{username}"
EMAIL_HOST_PASSWORD = "YOUR-PASSWORD"
DEFAULT_FROM_EMAIL = "you@example.com"
import os; os.environ["SSL_CERT_FILE"] = "{ca}"
"""
_LARAVEL = """
MAIL_MAILER=smtp
MAIL_SCHEME=smtp
MAIL_HOST={host}
MAIL_PORT={port}
MAIL_USERNAME={username}
MAIL_PASSWORD=YOUR-PASSWORD
MAIL_ENCRYPTION=tls
MAIL_FROM_ADDRESS=you@example.com
SSL_CERT_FILE="{ca}"
"""
_RAILS = """
config.action_mailer.delivery_method = :smtp
config.action_mailer.smtp_settings = {{
  address: "{host}",
  port: {port},
  user_name: "{username}",
  password: "YOUR-PASSWORD",
  authentication: :plain,
  ca_file: "{ca}",
  enable_starttls: true
}}
"""
_NODEMAILER = """
const transport = nodemailer.createTransport({{
  host: "{host}",
  port: {port},
  requireTLS: true,
  tls: {{ ca: require("node:fs").readFileSync("{ca}") }},
  auth: {{ user: "{username}", pass: "YOUR-PASSWORD" }}
}});
"""
_PHP = """
$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = '{host}';
$mail->Port = {port};
$mail->SMTPSecure = PHPMailer::ENCRYPTION_STARTTLS;
$mail->SMTPAuth = true;
$mail->SMTPOptions = ['ssl' => ['cafile' => '{ca}']];
$mail->Username = '{username}';
$mail->Password = 'YOUR-PASSWORD';
"""
