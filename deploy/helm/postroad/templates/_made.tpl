{{- /* Made of deploy/k8s by deploy/helm/generate; do not edit. */ -}}
{{- define "postroad.settings" -}}
{{- $all := merge (dict "POSTROAD_BIND" "0.0.0.0" "POSTROAD_METRICS_PORT" "9400" "POSTROAD_SECRETS_DIR" "/run/secrets/postroad") .Values.settings -}}
{{- if .Values.proxyProtocol.enabled -}}
{{- $_ := set $all "POSTROAD_PROXY_NETWORKS" (join "," .Values.proxyProtocol.networks) -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}
