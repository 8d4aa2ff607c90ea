{{- /* The load balancer's networks, as a NetworkPolicy names them. */ -}}
{{- define "postroad.balancers" -}}
{{- range .Values.proxyProtocol.networks }}
- ipBlock:
    cidr: {{ . }}
{{- end }}
{{- end -}}
