// The app in full, in a file of its own: the check that precedes a deployment shows Container Apps each resource before its
// values are known, and refuses one in which a list is still an expression (ContainerAppInvalidSchema:
// microsoft/azure-container-apps#391, Azure/bicep#8405). A module whose parameters are not known yet is checked when they are.
param name string
param location string
param tags object
param identityId string
param environmentId string
// Secure for the same reason as in `creation.bicep`.
@secure()
param configuration object
param containers array
param terminationGracePeriodSeconds int
param scale object

// The first stable API version with allowScalingRuleOverride; not every Bicep has types for it (BCP081).
#disable-next-line BCP081
resource app 'Microsoft.App/containerApps@2026-07-01' = {
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
      terminationGracePeriodSeconds: terminationGracePeriodSeconds
      scale: scale
    }
  }
}

output id string = app.id
output name string = app.name
output fqdn string = app.properties.configuration.ingress.fqdn
