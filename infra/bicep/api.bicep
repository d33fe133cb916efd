// The app itself, definition and image together: one deployment, one revision. azd runs this file on every `azd deploy`
// (its revision-based strategy), so that a deployment of code cannot drop what an image-only update drops (scale rules
// lose their identity: microsoft/azure-container-apps#1560).

@description('Name of the environment (azd: AZURE_ENV_NAME).')
param environmentName string
param location string = resourceGroup().location

@description('Image to run, in the registry of this resource group.')
param image string

@description('Cores of a replica. Memory in Gi must be twice this on the Consumption profile.')
param cpu string = '1.0'
param memory string = '2Gi'

@description('Replicas kept when there is nothing to do. 1 takes cold starts, and trouble with scaling from zero, out of the way.')
@minValue(0)
@maxValue(1000)
param minReplicas int = 0

@minValue(1)
@maxValue(1000)
param maxReplicas int = 10

@description('own: the scale rules below. platform: those that Container Apps derives from the triggers, with which queue rules and a user-assigned identity are reported not to work together (microsoft/azure-container-apps#1633).')
@allowed([
  'own'
  'platform'
])
param scaling string = 'own'

@description('Requests under way in one replica before another one is started.')
@minValue(1)
param concurrentRequests int = 20

@description('Seconds between SIGTERM and SIGKILL. A worker hands back its shard well within this.')
@minValue(0)
@maxValue(600)
param terminationGracePeriodSeconds int = 60

@description('False: reachable only from inside the apps environment.')
param externalIngress bool = true

@description('CIDR ranges that may call the app; empty: all.')
param allowedAddresses array = []

@description('INFERENCE_ settings that differ from settings.json.')
param settings object = {}

@description('Key that signs callbacks (the setting INFERENCE_CALLBACK_SECRET), kept among the secrets of the app. Empty: callbacks bear no signature.')
@secure()
param callbackSecret string = ''

@description('Resource id of the action group that alerts call; empty: alerts only show in the portal.')
param actionGroupId string = ''

var prefix = loadJsonContent('names.json')
var token = uniqueString(subscription().subscriptionId, toLower(resourceGroup().name))
var appName = '${prefix.app}${token}'
var tags = {
  'azd-env-name': environmentName
  'azd-service-name': 'api'
}
// One message per free slot of a replica, as the platform's own mapping would have it.
var queueLength = loadJsonContent('../../host.json').extensions.queues.batchSize
var ownRules = scaling == 'own'
// Poison queues too: what is in them is work, which a failure of storage puts off by up to ten minutes. Without a rule the app
// would be gone by then, and the host's copies there expire after seven days.
var scaledQueues = [
  'batch-manifests'
  'batch-manifests-poison'
  'batch-shards'
  'batch-shards-poison'
  'batch-finish'
  'batch-finish-poison'
]

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: '${prefix.identity}${token}'
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' existing = {
  name: '${prefix.registry}${token}'
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: '${prefix.storage}${token}'
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: '${prefix.workspace}${token}'
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: '${prefix.insights}${token}'
}

resource apps 'Microsoft.App/managedEnvironments@2026-01-01' existing = {
  name: '${prefix.apps}${token}'
}

var platformSettings = [
  { name: 'FUNCTIONS_WORKER_RUNTIME', value: 'python' }
  { name: 'FUNCTIONS_WORKER_PROCESS_COUNT', value: '1' }
  { name: 'AzureWebJobsStorage__accountName', value: storage.name }
  { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
  { name: 'AzureWebJobsStorage__clientId', value: identity.properties.clientId }
  // With the platform's default, 'containerapp', the host makes no keys: each is put by hand among the app's secrets, which
  // the next deployment of this file would clear. 'files' loses them with each replica.
  { name: 'AzureWebJobsSecretStorageType', value: 'blob' }
  // Without it the host derives an id from each replica's machine name, and with it the place of locks and keys.
  { name: 'AzureFunctionsWebHost__hostid', value: '${prefix.host}${token}' }
  { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: insights.properties.ConnectionString }
  { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'ClientId=${identity.properties.clientId};Authorization=AAD' }
  { name: 'PYTHON_ENABLE_OPENTELEMETRY', value: 'true' }
  { name: 'OTEL_SERVICE_NAME', value: appName }
]

var inferenceSettings = [for setting in items(union(loadJsonContent('settings.json'), settings)): {
  name: setting.key
  value: setting.value
}]

var callbackSecretName = 'callback-secret'
var isSigned = !empty(callbackSecret)

var secretSettings = isSigned ? [
  { name: 'INFERENCE_CALLBACK_SECRET', secretRef: callbackSecretName }
] : []

var secrets = isSigned ? [
  { name: callbackSecretName, value: callbackSecret }
] : []

var containers = [
  {
    name: 'api'
    image: image
    env: concat(platformSettings, inferenceSettings, secretSettings)
    resources: {
      cpu: json(cpu)
      memory: memory
    }
    probes: [
      {
        type: 'Startup'
        httpGet: { path: '/api/health', port: 80 }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 10
      }
      {
        type: 'Liveness'
        httpGet: { path: '/api/health', port: 80 }
        periodSeconds: 30
        timeoutSeconds: 10
        failureThreshold: 3
      }
      {
        type: 'Readiness'
        httpGet: { path: '/api/ready', port: 80 }
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 3
      }
    ]
  }
]

var configuration = {
  activeRevisionsMode: 'Single'
  maxInactiveRevisions: 10
  secrets: secrets
  registries: [
    {
      server: registry.properties.loginServer
      identity: identity.id
    }
  ]
  ingress: {
    external: externalIngress
    targetPort: 80
    transport: 'auto'
    allowInsecure: false
    ipSecurityRestrictions: ipSecurityRestrictions
    traffic: [
      {
        latestRevision: true
        weight: 100
      }
    ]
  }
}

var ipSecurityRestrictions = [for (range, i) in allowedAddresses: {
  name: 'allowed-${i}'
  action: 'Allow'
  ipAddressRange: range
}]

var queueRules = [for queue in scaledQueues: {
  name: queue
  custom: {
    type: 'azure-queue'
    identity: identity.id
    metadata: {
      accountName: storage.name
      queueName: queue
      queueLength: string(queueLength)
    }
  }
}]

var httpRules = [
  {
    name: 'http'
    http: {
      metadata: {
        concurrentRequests: string(concurrentRequests)
      }
    }
  }
]

var scale = {
  minReplicas: minReplicas
  maxReplicas: maxReplicas
  allowScalingRuleOverride: ownRules
  // Going back to the platform's rules takes an explicit empty list.
  rules: ownRules ? concat(queueRules, httpRules) : []
}

// Own rules are reported to be refused for an app that does not exist yet (AllowScalingRuleOverrideNotApplicable), so it
// is made without them first. Later deployments find it there and go straight on.
module creation 'modules/creation.bicep' = {
  name: 'creation'
  params: {
    name: appName
    location: location
    tags: tags
    identityId: identity.id
    environmentId: apps.id
    configuration: configuration
    containers: containers
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  params: {
    // Not `appName`: nothing of the app is checked before `creation` is done.
    name: creation.outputs.name
    location: location
    tags: tags
    identityId: identity.id
    environmentId: apps.id
    configuration: configuration
    containers: containers
    terminationGracePeriodSeconds: terminationGracePeriodSeconds
    scale: scale
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  params: {
    appId: app.outputs.id
    appName: appName
    workspaceId: workspace.id
    location: location
    tags: tags
    actionGroupId: actionGroupId
  }
}

output SERVICE_API_NAME string = app.outputs.name
output SERVICE_API_URI string = 'https://${app.outputs.fqdn}'
