"""Settings for programs that send mail through a login, ready to be copied.

Pure. `YOUR-PASSWORD` stands where the password goes: it is shown once, when the login is made.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmtpPlace:
    """Where applications hand mail in: `port` has STARTTLS, `tls_port` TLS from the start."""

    host: str
    port: int
    tls_port: int

    @classmethod
    def of(cls, address: str, hostname: str) -> "SmtpPlace":
        """Read `HOST:PORT:TLSPORT`; what is left out is `hostname`, 587 and 465."""
        host, _, ports = address.partition(":")
        port, _, tls_port = ports.partition(":")
        return cls(host or hostname, int(port or 587), int(tls_port or 465))


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What one program is configured with: its name, the file that this goes into, and the text."""

    name: str
    file: str
    text: str


def settings_for(place: SmtpPlace, username: str) -> list[ClientSettings]:
    """Return the settings of the programs that are met most."""
    values = {
        "host": place.host,
        "port": place.port,
        "tls_port": place.tls_port,
        "username": username,
    }
    return [
        ClientSettings(name, file, text.format(**values).strip("\n"))
        for name, file, text in (
            ("curl", "a shell", _CURL),
            ("Postfix", "/etc/postfix/main.cf", _POSTFIX),
            ("Exim", "/etc/exim4/exim4.conf", _EXIM),
            ("msmtp", "~/.msmtprc", _MSMTP),
            ("Thunderbird", "Account settings, outgoing server", _THUNDERBIRD),
            ("Django", "settings.py", _DJANGO),
            ("Laravel", ".env", _LARAVEL),
            ("Rails", "config/environments/production.rb", _RAILS),
            ("nodemailer", "JavaScript", _NODEMAILER),
            ("PHP", "with PHPMailer", _PHP),
        )
    ]


_CURL = """
curl --ssl-reqd smtp://{host}:{port} --user '{username}:YOUR-PASSWORD' \\
  --mail-from you@example.com --mail-rcpt reader@example.com --upload-file mail.eml
"""
_POSTFIX = """
relayhost = [{host}]:{port}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = static:{username}:YOUR-PASSWORD
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = encrypt
"""
_EXIM = """
# a router, before the others:
postroad:
  driver = manualroute
  domains = ! +local_domains
  transport = postroad_smtp
  route_list = * {host}::{port} byname
# a transport:
postroad_smtp:
  driver = smtp
  hosts_require_auth = *
  hosts_require_tls = *
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
auth on
user {username}
password YOUR-PASSWORD
from you@example.com
account default : postroad
"""
_THUNDERBIRD = """
Server name: {host}
Port: {tls_port}
Connection security: SSL/TLS
Authentication method: Normal password
User name: {username}
"""
_DJANGO = """
EMAIL_HOST = "{host}"
EMAIL_PORT = {port}
EMAIL_USE_TLS = True
EMAIL_HOST_USER = "{username}"
EMAIL_HOST_PASSWORD = "YOUR-PASSWORD"
"""
_LARAVEL = """
MAIL_MAILER=smtp
MAIL_HOST={host}
MAIL_PORT={port}
MAIL_USERNAME={username}
MAIL_PASSWORD=YOUR-PASSWORD
MAIL_ENCRYPTION=tls
"""
_RAILS = """
config.action_mailer.delivery_method = :smtp
config.action_mailer.smtp_settings = {{
  address: "{host}",
  port: {port},
  user_name: "{username}",
  password: "YOUR-PASSWORD",
  authentication: :plain,
  enable_starttls: true
}}
"""
_NODEMAILER = """
const transport = nodemailer.createTransport({{
  host: "{host}",
  port: {port},
  requireTLS: true,
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
$mail->Username = '{username}';
$mail->Password = 'YOUR-PASSWORD';
"""
