// What the app stands on: everything but the app itself, which `api.bicep` deploys together with its image.
// Subscription scope, so that neither azd nor `az deployment sub create` needs a resource group made beforehand.
targetScope = 'subscription'

@description('Name of the environment (azd: AZURE_ENV_NAME). It names the resource group and tags every resource.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of every resource.')
@metadata({
  azd: {
    type: 'location'
  }
})
param location string

@description('Resource group to make or to use.')
param resourceGroupName string = 'rg-${environmentName}'

@description('Object id of the person or pipeline that submits manifests with their own identity. Empty: nobody does.')
param operatorId string = ''

@description('What the operator is.')
@allowed([
  'User'
  'Group'
  'ServicePrincipal'
])
param operatorType string = 'User'

@description('Replication of the storage account. Zone-redundant storage is not to be had in every region.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GRS'
  'Standard_GZRS'
])
param storageSku string = 'Standard_LRS'

@description('Days after which results, dead letters and manifests are deleted, those of batches that still run among them: more than the longest batch takes. 0 keeps them.')
@minValue(0)
@maxValue(3650)
param retentionDays int = 0

@description('True puts the apps environment into a virtual network and storage behind private endpoints. An environment cannot be moved later.')
param privateNetwork bool = false

var prefix = loadJsonContent('names.json')
var token = uniqueString(subscription().subscriptionId, toLower(resourceGroupName))
var tags = {
  'azd-env-name': environmentName
}

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: resourceGroupName
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: '${prefix.identity}${token}'
    location: location
    tags: tags
  }
}

module registry 'modules/registry.bicep' = {
  name: 'registry'
  scope: group
  params: {
    name: '${prefix.registry}${token}'
    location: location
    tags: tags
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: '${prefix.storage}${token}'
    location: location
    tags: tags
    sku: storageSku
    retentionDays: retentionDays
    publicAccess: !privateNetwork
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: '${prefix.workspace}${token}'
    insightsName: '${prefix.insights}${token}'
    location: location
    tags: tags
  }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  name: 'network'
  scope: group
  params: {
    name: '${prefix.network}${token}'
    location: location
    tags: tags
    storageName: storage.outputs.name
  }
}

module apps 'modules/environment.bicep' = {
  name: 'environment'
  scope: group
  params: {
    name: '${prefix.apps}${token}'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    #disable-next-line BCP318 // read only where the module is deployed
    subnetId: privateNetwork ? network.outputs.appsSubnetId : ''
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    operatorId: operatorId
    operatorType: operatorType
    storageName: storage.outputs.name
    registryName: registry.outputs.name
    insightsName: monitoring.outputs.insightsName
  }
}

output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = registry.outputs.loginServer
output AZURE_CONTAINER_REGISTRY_NAME string = registry.outputs.name
output AZURE_CONTAINER_ENVIRONMENT_NAME string = apps.outputs.name
output AZURE_STORAGE_ACCOUNT_NAME string = storage.outputs.name
