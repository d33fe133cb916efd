// The app as it is made, scaled by the platform; `api.bicep` then defines it in full. Nothing happens when it is there.
param name string
param location string
param tags object
param identityId string
param environmentId string
// Secure, since it holds the app's secrets: what is not stands in the history of deployments for all to read.
@secure()
param configuration object
param containers array

@onlyIfNotExists()
resource app 'Microsoft.App/containerApps@2026-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    managedEnvironmentId: environmentId
    workloadProfileName: 'Consumption'
    configuration: configuration
    template: {
      containers: containers
    }
  }
}

output name string = app.name
