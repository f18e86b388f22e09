{{- define "disco.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Name of the Deployment and of all that belongs to it, and of the Lease. */ -}}
{{- define "disco.operator" -}}
{{ include "disco.fullname" . }}-operator
{{- end -}}

{{- define "disco.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create -}}
{{ include "disco.operator" . }}
{{- else -}}
{{ fail "serviceAccount.create is false: set serviceAccount.name to a ServiceAccount of the release's namespace" }}
{{- end -}}
{{- end -}}

{{- /* Name of the gateway's Deployment and Service, and of all that belongs to it. */ -}}
{{- define "disco.gateway" -}}
{{ include "disco.fullname" . }}-gateway
{{- end -}}

{{- define "disco.gatewayServiceAccount" -}}
{{- if .Values.gateway.serviceAccountName -}}
{{ .Values.gateway.serviceAccountName }}
{{- else if .Values.serviceAccount.create -}}
{{ include "disco.gateway" . }}
{{- else -}}
{{ fail "serviceAccount.create is false: set gateway.serviceAccountName to a ServiceAccount of the release's namespace, or gateway.enabled to false" }}
{{- end -}}
{{- end -}}

{{- define "disco.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /* What Services, policies and job pods know the operator's pods by. The name differs from that of
       the jobs' own pods ("disco"), so that no selector ever takes one for the other. */ -}}
{{- define "disco.selectorLabels" -}}
app.kubernetes.io/name: disco-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* The gateway's pods have a name of their own, so that no selector of the operator's takes them. */ -}}
{{- define "disco.gatewaySelectorLabels" -}}
app.kubernetes.io/name: disco-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* A value of the user's never replaces one that a selector needs: also the NetworkPolicies of jobs
       have one, of the pods that are part of the operator or of the gateway. */ -}}
{{- define "disco.labels" -}}
{{- $app := .app | default "disco-operator" -}}
{{- $own := dict
  "app.kubernetes.io/name" $app
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/part-of" $app
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_")
-}}
{{- merge $own (.labels | default dict) .root.Values.extraLabels | toYaml -}}
{{- end -}}

{{- /* The metadata of an object; `name` and, for objects in another place than the release's
       namespace, `namespace` ("" for none); `annotations` and `labels` are added. `app` is for
       the pod of `helm test`, which no selector may take for an operator. */ -}}
{{- define "disco.metadata" -}}
{{- $namespace := hasKey . "namespace" | ternary .namespace .root.Release.Namespace -}}
{{- $annotations := merge (dict) (.annotations | default dict) .root.Values.extraAnnotations -}}
name: {{ .name }}
{{- with $namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "disco.labels" . | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "disco.testNamespace" -}}
{{- $watched := concat .Values.rbac.jobNamespaces .Values.watch.namespaces (list .Release.Namespace) -}}
{{- default (first $watched) .Values.test.namespace -}}
{{- end -}}

{{- /* What "restricted" PodSecurity asks of a pod and of its containers, and a little more. */ -}}
{{- define "disco.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "disco.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* Where the pods of a Deployment go; `selector` has their labels. */ -}}
{{- define "disco.placement" -}}
{{- $selector := .selector -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- /* Else the pods of a rollout's old and new ReplicaSet are counted together. */ -}}
  {{- $own := dict "labelSelector" (dict "matchLabels" $selector) "matchLabelKeys" (list "pod-template-hash") }}
  - {{ hasKey . "labelSelector" | ternary . (merge (dict) . $own) | toYaml | indent 4 | trim }}
  {{- end }}
{{- end }}
{{- end -}}
